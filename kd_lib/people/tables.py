"""Tables that people fill in by hand, read with the line of every mistake."""

import csv
import re
from pathlib import Path

import pandas as pd
from upath import UPath

from kd_lib import _files

SEPARATORS = ",;\t"  # the first is written; a spreadsheet may have saved the file with another


def read_table(path: Path | UPath, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV of filled cells: UTF-8, cells separated by commas, the names of `columns` in the first line.

    Their order is free. Semicolons or tabs between the cells, a byte-order mark, Windows line ends, blanks around a
    cell and wholly blank rows, as spreadsheets leave them, are taken as they are meant. The frame has `columns` of str
    in their order; its index, named ``line``, is the line in the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not UTF-8 text, holds no rows, lacks a column or has one more, a cell is empty or too many, or a
        quotation mark is not closed.
    """
    (_, header), *rows = _lines(path, f"the columns {', '.join(columns)}")
    header = _trimmed(header, len(columns))
    _check_header(path, header, columns)
    if not rows:
        raise ValueError(f"{path}: no rows below the names of the columns; fill in at least one")
    cells = {number: _trimmed(row, len(header)) for number, row in rows}
    for number, row in cells.items():
        if len(row) > len(header):
            raise ValueError(f"{path}, line {number}: {len(row)} cells for {len(header)} columns; remove the others")
        row += [""] * (len(header) - len(row))
        if "" in row:
            raise ValueError(f"{path}, line {number}: {header[row.index('')]!r} is empty; fill in the cell")
    index = pd.Index(list(cells), name="line")
    return pd.DataFrame(list(cells.values()), columns=header, index=index, dtype=str)[list(columns)]


def read_header(path: Path | UPath) -> tuple[str, ...]:
    """Read the names of a table's columns; errors as of `read_table`, also if a name is blank between others."""
    header = _trimmed(_lines(path, "the names of columns in the first line")[0][1], 0)
    if "" in header:
        raise ValueError(f"{path}, line 1: column {header.index('') + 1} has no name; found {', '.join(header)}")
    return tuple(header)


def whole_numbers(table: pd.DataFrame, column: str, path: Path | UPath) -> pd.Series:
    """Convert a column of what `read_table` returned to int64; ValueError names the line of what is none >= 0."""
    _refuse(table[column], ~table[column].str.fullmatch(r"[0-9]{1,18}"), path, "a whole number >= 0")
    return table[column].astype("int64")


def coded(table: pd.DataFrame, column: str, codes: dict[str, bool], path: Path | UPath) -> pd.Series:
    """Convert a column of what `read_table` returned by lower-case `codes`; ValueError names the line of another."""
    values = table[column].str.lower().map(codes)
    _refuse(table[column], values.isna(), path, " or ".join(codes))
    return values.astype(bool)


def check_unique(key: pd.DataFrame, path: Path | UPath) -> None:
    """Refuse a second row about the same thing: `key` holds the columns that tell rows apart, indexed by line."""
    repeated = key.duplicated()
    if not repeated.any():
        return
    line = key.index[repeated][0]
    first = key.index[(key == key.loc[line]).all(axis=1)][0]
    names = ", ".join(f"{name} {value}" for name, value in key.loc[line].items())
    raise ValueError(f"{path}, line {line}: duplicate of line {first} ({names}); keep one of the two")


def _refuse(column: pd.Series, bad: pd.Series, path: Path | UPath, expected: str) -> None:
    """Name the first bad cell, if there is one."""
    for line, cell in column[bad].head(1).items():
        raise ValueError(f"{path}, line {line}: {column.name} is {cell!r}; expected {expected}")


def decoded(data: bytes, path: Path | UPath) -> list[str]:
    """Lines of a text file, whatever ends them, without a byte-order mark; ValueError if it is not UTF-8."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text; save it from the spreadsheet as 'CSV UTF-8'") from None


def separator_of(line: str) -> str:
    """Tell which of `SEPARATORS` a line has most of, outside of quotation marks."""
    return max(SEPARATORS, key=re.sub('"[^"]*"', "", line).count)


def cells(line: str, separator: str) -> list[str]:
    """Cells of one line; a ValueError if a quotation mark is not closed in it, which would swallow the lines below."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, strict=True), [])]
    except csv.Error as error:
        raise ValueError(f"a quotation mark is not closed ({error}) in {line!r}; close or remove it") from None


def _lines(path: Path | UPath, columns: str) -> list[tuple[int, list[str]]]:
    """Rows that are not blank, each with its line in the file."""
    if (data := _files.read_bytes(path)) is None:
        raise FileNotFoundError(f"{path}: no such file; expected a CSV with {columns}")
    separator, lines = "", []
    for number, line in enumerate(decoded(data, path), 1):
        separator = separator or (separator_of(line) if line.strip(SEPARATORS + ' "') else "")
        try:
            row = cells(line, separator or SEPARATORS[0])
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if any(row):
            lines.append((number, row))
    if not lines:
        raise ValueError(f"{path}: empty; expected a CSV with {columns}")
    return lines


def _trimmed(row: list[str], width: int) -> list[str]:
    """Drop the blank cells that spreadsheets append beyond the table's width."""
    while len(row) > width and not row[-1]:
        row = row[:-1]
    return row


def _check_header(path: Path | UPath, header: list[str], columns: tuple[str, ...]) -> None:
    if missing := [name for name in columns if name not in header]:
        raise ValueError(f"{path}, line 1: missing columns {', '.join(missing)}; found {', '.join(header)}")
    if unknown := [name for name in header if name not in columns]:
        raise ValueError(f"{path}, line 1: unknown columns {', '.join(unknown)}; expected only {', '.join(columns)}")
    if twice := [name for name in columns if header.count(name) > 1]:
        raise ValueError(f"{path}, line 1: column {twice[0]} appears {header.count(twice[0])} times; keep one")
