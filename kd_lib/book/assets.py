"""What the book's pages load and no source has: the script that draws charts, and of the theme's icons the few used."""

import re
from collections.abc import Sequence
from pathlib import Path

from kd_lib import _files

UNFOLDS = "Pages of this chapter"  # of the contents at the side

_ICON = re.compile(r'"?([\w-]+)"?:\[\d+,\d+,(\[[^\]]*\]),"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?')


def complete(pages: Path) -> None:
    """Put in what pages load and no source has: the script that draws charts, and few icons for many.

    The theme brings all of Font Awesome as a script of 1.5 MB and as a font; a page uses a dozen of its icons.
    """
    from kd_lib.figures import render

    static = pages / "_static"
    _files.write_text(static / "vega.js", render.script())
    icons, style = static / "scripts" / "fontawesome.js", static / "styles" / "pydata-sphinx-theme.css"
    texts = [p.read_text(encoding="utf-8") for p in [*pages.rglob("*.html"), *static.rglob("*.js")] if p != icons]
    used = {name for text in texts for name in re.findall(r"\bfa-([\w-]+)", text)}
    _files.write_text(icons, only_icons(icons.read_text(encoding="utf-8"), used))
    only_glyphs(static / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.ttf", [*static.rglob("*.css")])
    # The same font, better compressed, but whole.
    _files.write_text(style, re.sub(r"url\([^)]*fa-solid-900\.woff2\)[^,]*,", "", style.read_text(encoding="utf-8")))
    for page in pages.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        # A list has list items; docutils gives this one none. What unfolds a part of the contents has a name.
        mended = text.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
        mended = mended.replace("<summary><span", f'<summary aria-label="{UNFOLDS}"><span')
        if mended != text:
            _files.write_text(page, mended)
    for useless in [*static.rglob("*.map"), *static.rglob("fa-solid-900.woff2")]:
        useless.unlink()


def only_glyphs(font: Path, styles: Sequence[Path]) -> None:
    """Leave in a font, in place, what style sheets write with it: private characters, as they are or by number."""
    from fontTools import subset

    rules = "".join(re.sub(r"\.fa-[^{}]*\{[^}]*\}", "", style.read_text(encoding="utf-8")) for style in styles)
    written = "".join(re.findall(r'(?:--pst[\w-]*|content): ?"([^"]+)"', rules))
    numbers = {int(code, 16) for code in re.findall(r"\\([ef][0-9a-f]{3})", written)}
    numbers |= {ord(character) for character in written if character >= "\ue000"}
    options = subset.Options(ignore_missing_unicodes=True)
    loaded = subset.load_font(str(font), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=numbers)
    subsetter.subset(loaded)
    subset.save_font(loaded, str(font), options)


def only_icons(script: str, used: set[str]) -> str:
    """Leave out of Font Awesome's script the pictures of icons that are not used, under none of their names."""

    def kept(match: re.Match) -> str:
        names = {match[1], *re.findall(r'"([\w-]+)"', match[2])}
        return match[0] if names & used else ""

    return _ICON.sub(kept, script)
