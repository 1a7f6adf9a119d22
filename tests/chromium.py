"""Chromium, where the tests that need it find it. Without it they are skipped, or fail if BROWSER_TESTS=required."""

import os
import shutil
from contextlib import contextmanager

import pytest

from kd_lib.book import printing

CHROMIUM = next(filter(None, map(shutil.which, printing.BROWSERS)), None)


def need() -> None:
    """Skip the tests, or fail, where there is no Chromium."""
    if CHROMIUM is None:
        message = "no Chromium found (apt-get install chromium): pages are not tried in a browser"
        if os.environ.get("BROWSER_TESTS") == "required":
            pytest.fail(message)
        pytest.skip(message)


@contextmanager
def launched():
    """Start it, by Playwright, and stop it in the end."""
    need()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
