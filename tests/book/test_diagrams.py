"""Diagrams of the book: drawn by code, the same every time, with nothing that would have to be loaded."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kd_lib.book import diagrams

BOOK = Path(__file__).resolve().parents[2] / "book"
PROSE = "\n".join(page.read_text(encoding="utf-8") for page in BOOK.glob("*.md"))


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_a_diagram_is_the_same_every_time_and_stands_alone(name):
    once, again = (diagrams.svg(diagrams.DIAGRAMS[name]) for _ in range(2))
    assert once == again
    assert ElementTree.fromstring(once).tag.endswith("svg")
    assert b"<dc:date>" not in once
    assert not re.search(rb"font-family|<text|(href|src)=\"(?!#|data:)", once)
    assert len(once) < 200_000


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_a_diagram_is_shown_with_a_name_and_an_alternative_text(name):
    shown = PROSE.split(f"```{{figure}} _figures/{name}.svg\n")
    assert len(shown) == 2
    options = shown[1].split("\n\n")[0]
    assert ":name: fig-" in options
    assert len(options.split(":alt: ")[1]) > 40


def test_all_are_written(tmp_path):
    diagrams.write_all(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == set(diagrams.DIAGRAMS)
