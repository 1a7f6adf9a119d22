"""What several test modules share."""

import pytest

from tests import chromium


@pytest.fixture(scope="module")
def browser():
    """Chromium, of the module's own: Playwright runs one at a time in a process."""
    with chromium.launched() as started:
        yield started
