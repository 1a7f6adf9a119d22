"""The reference of the package names every module once, on the page of the room that it belongs to."""

import re
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def test_every_module_is_on_the_page_of_its_room():
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (PROJECT / "book" / "reference").glob("*.md")}
    shown = {name: re.findall(r"automodule:: kd_lib\.([\w.]+)", text) for name, text in pages.items()}
    paths = [path.relative_to(PROJECT / "kd_lib").with_suffix("") for path in (PROJECT / "kd_lib").rglob("*.py")]
    modules = [".".join(path.parts) for path in paths if path.name != "__init__"]
    assert Counter(module for names in shown.values() for module in names) == Counter(modules)
    index = (PROJECT / "book" / "reference.md").read_text(encoding="utf-8")
    contents = (PROJECT / "_toc.yml").read_text(encoding="utf-8")
    for name, names in shown.items():
        room = "" if name == "ground" else f"{name}."
        assert not [module for module in names if not module.startswith(room)]
        (line,) = [line for line in index.splitlines() if f"<reference/{name}>" in line]
        assert re.findall(r"`([\w.]+)`", line.split("|")[2]) == [module.removeprefix(room) for module in names]
        assert f"- file: book/reference/{name}\n" in contents + "\n"
