"""What Chromium prints: the whole book as one PDF file, from a single page, and the explorer as a picture."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from kd_lib import _files
from kd_lib.book import build

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str:
    """Find the browser that prints; a `RuntimeError` if there is none."""
    if (found := next(filter(None, map(shutil.which, BROWSERS)), None)) is None:
        raise RuntimeError("no Chromium or Chrome found, which prints the book: install one (apt-get install chromium)")
    return found


def write_pdf(output: Path) -> None:
    """Print the published book to one PDF file; a `RuntimeError` if that cannot be built or printed."""
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


def picture(site: Path, output: Path) -> None:
    """Take the README's picture of the explorer, 1200 pixels wide, from a rendered book; needs Playwright, too."""
    from playwright.sync_api import sync_playwright  # optional: who makes editions has it, who reads them need not

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1200})
        page.goto(f"{(site / 'book' / 'explorer.html').resolve().as_uri()}#epoch=3")
        page.add_style_tag(content=".explorer { width: 1200px; padding: 12px 16px; background: #fff; }")
        page.locator(".explorer circle").first.wait_for()
        page.wait_for_timeout(300)  # the chart takes the new width
        shot = page.locator(".explorer").screenshot()
        browser.close()
    _files.write_bytes(output, shot)


def _at_the_top(pages: Path, root: str) -> Path:
    """Put the single page where its addresses lead from: Sphinx writes them as if it lay in no folder."""
    text = (pages / f"{root}.html").read_text(encoding="utf-8")
    page = pages / "book.html"
    _files.write_text(page, text.replace('href="' + root + ".html#", 'href="#').replace("../_static/", "_static/"))
    return page
