"""What several test modules share."""

from pathlib import Path

import pytest

from tests import chromium

TESTS = Path(__file__).resolve().parent

# Modules that take a minute or more. They are begun first, so that no process is left with one of them in the end.
LONG = (
    "whole/test_make",
    "networks/test_given",
    "whole/test_cluster",
    "networks/test_checkpoints",
    "whole/test_browser",
    "whole/test_notebooks",
    "whole/test_poor_runs",
    "whole/test_site",
    "study/test_training",
    "maps/test_fill",
)


def pytest_collection_modifyitems(items):
    """Mark the tests of the whole; put those of long modules first, in the order of the list, and leave the others."""
    place = {TESTS / f"{name}.py": position for position, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))
    for item in items:
        if item.path.is_relative_to(TESTS / "whole"):
            item.add_marker(pytest.mark.whole)


@pytest.fixture(scope="module")
def browser():
    """Chromium, of the module's own: Playwright runs one at a time in a process."""
    with chromium.launched() as started:
        yield started
