"""What several test modules share."""

import pytest

from tests import chromium

# Modules that take a minute or more. They are begun first, so that no process is left with one of them in the end.
LONG = ("make", "given", "cluster", "resume", "browser", "notebooks", "poor_runs", "site", "trainings", "explaining")


def pytest_collection_modifyitems(items):
    """Put the tests of long modules first, in the order of the list; the others stay as they were found."""
    place = {f"test_{name}": position for position, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="module")
def browser():
    """Chromium, of the module's own: Playwright runs one at a time in a process."""
    with chromium.launched() as started:
        yield started
