"""The whole book as one PDF file, printed by Chromium from a single page."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from kd_lib import _files
from kd_lib.book import build

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str:
    """Find the browser that prints.

    Raises
    ------
    RuntimeError
        If there is none.
    """
    if (found := next(filter(None, map(shutil.which, BROWSERS)), None)) is None:
        raise RuntimeError("no Chromium or Chrome found, which prints the book: install one (apt-get install chromium)")
    return found


def write_pdf(output: Path) -> None:
    """Print the published book to one PDF file.

    Raises
    ------
    RuntimeError
        If there is no browser, the book cannot be built, or the browser does not print it.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory() as folder:
        pages, printed = Path(folder) / "pages", Path(folder) / "book.pdf"
        build.publish(pages, builder="singlehtml")
        profile = f"--user-data-dir={folder}/profile"
        options = ["--headless", "--no-sandbox", "--disable-gpu", profile, "--no-pdf-header-footer"]
        page = _at_the_top(pages, build.table_of_contents()["root"])
        command = [browser, *options, f"--print-to-pdf={printed}", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True)
        if not printed.is_file():
            raise RuntimeError(f"{browser} printed nothing: {done.stderr.strip().splitlines()[-1:]}")
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(printed, output)


def _at_the_top(pages: Path, root: str) -> Path:
    """Put the single page where its addresses lead from: Sphinx writes them as if it lay in no folder."""
    text = (pages / f"{root}.html").read_text(encoding="utf-8")
    page = pages / "book.html"
    _files.write_text(page, text.replace('href="' + root + ".html#", 'href="#').replace("../_static/", "_static/"))
    return page
