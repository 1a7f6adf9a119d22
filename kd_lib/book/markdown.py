"""Markdown, as pages are written in it: numbers in their unit, tables, and names that somebody else gave."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from kd_lib.book.claims import UNITS


def number(value: float, unit: str) -> str:
    """Write a number in a unit, a key of `claims.UNITS`."""
    scale, digits, suffix = UNITS[unit]
    return f"{value * scale:.{digits}f}{suffix}".replace("-", "−")


def table(header: Sequence, rows: Iterable[Sequence], caption: str = "") -> str:
    """Write a table in Markdown; with a caption, which the book numbers, in MyST's."""
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join(f"| {' | '.join(cell(value) for value in line)} |" for line in lines)
    return f":::{{table}} {caption}\n\n{text}\n:::" if caption else text


def cell(value: Any) -> str:
    """Write a value so that it breaks no table."""
    return str(value).replace("|", "\\|").replace("\n", " ")


def plain(name: str) -> str:
    """Write a name that somebody gave so that Markdown shows it as it is, and takes none for a formula."""
    return re.sub(r"([\\`*_$<>&\[\]{}~])", r"\\\1", str(name))


def and_(words: Sequence[str]) -> str:
    """Write words after one another: a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
