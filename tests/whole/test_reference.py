"""The reference of the package names every module once, in the layer that it belongs to."""

import re
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_every_module_is_on_one_page_of_the_reference():
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (PROJECT / "book" / "reference").glob("*.md")}
    shown = {name: re.findall(r"automodule:: kd_lib\.(\w+)", text) for name, text in pages.items()}
    modules = {path.stem for path in (PROJECT / "kd_lib").glob("*.py")} - {"__init__"}
    assert Counter(module for names in shown.values() for module in names) == Counter(modules)
    index = (PROJECT / "book" / "reference.md").read_text(encoding="utf-8")
    for name, names in shown.items():
        (line,) = [line for line in index.splitlines() if f"<reference/{name}>" in line]
        assert re.findall(r"`(\w+)`", line.split("|")[2]) == names
