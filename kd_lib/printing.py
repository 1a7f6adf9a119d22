"""The whole book as one PDF file, printed by Chromium from a single page."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kd_lib import book

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


def write_pdf(notebooks: Path, output: Path, editions: Sequence[Path] = ()) -> None:
    """Print the book, as `book.build` puts it together, to one PDF file.

    Raises
    ------
    RuntimeError
        If there is no browser, the book cannot be built, or the browser does not print it.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory() as folder:
        pages, printed = Path(folder) / "pages", Path(folder) / "book.pdf"
        book.build(notebooks, pages, editions, builder="singlehtml")
        profile = f"--user-data-dir={folder}/profile"
        options = ["--headless", "--no-sandbox", "--disable-gpu", profile, "--no-pdf-header-footer"]
        page = (pages / f"{book.table_of_contents()['root']}.html").as_uri()
        done = subprocess.run([browser, *options, f"--print-to-pdf={printed}", page], capture_output=True, text=True)
        if not printed.is_file():
            raise RuntimeError(f"{browser} printed nothing: {done.stderr.strip().splitlines()[-1:]}")
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(printed, output)
