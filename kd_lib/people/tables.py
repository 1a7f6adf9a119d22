"""Tables that people fill in by hand, read with the line of every mistake."""

import csv
import io
from pathlib import Path

import pandas as pd
from upath import UPath

from kd_lib import _files

LINE = "line"


def read_table(path: str | Path | UPath, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV of filled cells.

    A byte-order mark, Windows line ends, blanks around a cell and wholly blank rows, as spreadsheets leave them,
    are taken as they are meant.

    Parameters
    ----------
    path : str, Path or UPath
        File to read, UTF-8, cells separated by commas, names in the first line.
    columns : tuple of str
        The columns expected, in any order.

    Returns
    -------
    DataFrame of str
        One column each of `columns`, in that order; the index, named ``line``, is the line in the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not UTF-8 text, holds no rows, lacks a column or has one more, or a cell is empty or too many.
    """
    lines = _lines(path, f"the columns {', '.join(columns)}")
    header = _trimmed(lines[0][1], len(columns))
    _check_header(path, header, columns)
    rows = {number: _trimmed(row, len(header)) for number, row in lines[1:]}
    if not rows:
        raise ValueError(f"{path}: no rows below the names of the columns; fill in at least one")
    for number, row in rows.items():
        if len(row) > len(header):
            raise ValueError(f"{path}, line {number}: {len(row)} cells for {len(header)} columns; remove the others")
        empty = [name for name, cell in zip(header, row + [""] * (len(header) - len(row)), strict=True) if not cell]
        if empty:
            raise ValueError(f"{path}, line {number}: {empty[0]!r} is empty; fill in the cell")
    index = pd.Index(list(rows), name=LINE)
    return pd.DataFrame(list(rows.values()), columns=header, index=index, dtype=str)[list(columns)]


def read_header(path: str | Path | UPath) -> tuple[str, ...]:
    """Read the names of a table's columns.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read_table`; also if a name is blank between others.
    """
    header = _trimmed(_lines(path, "the names of columns in the first line")[0][1], 0)
    if "" in header:
        raise ValueError(f"{path}, line 1: column {header.index('') + 1} has no name; found {', '.join(header)}")
    return tuple(header)


def whole_numbers(table: pd.DataFrame, column: str, path: str | Path | UPath) -> pd.Series:
    """Convert a column of a table to whole numbers.

    Parameters
    ----------
    table : DataFrame of str
        What `read_table` returned.
    column : str
        Its column to convert.
    path : str, Path or UPath
        The file, for the message.

    Returns
    -------
    Series of int64

    Raises
    ------
    ValueError
        If a cell is not a whole number >= 0; names its line.
    """
    bad = table[column][~table[column].str.fullmatch(r"[0-9]{1,18}")]
    if len(bad):
        raise ValueError(f"{path}, line {bad.index[0]}: {column} is {bad.iloc[0]!r}; expected a whole number >= 0")
    return table[column].astype("int64")


def coded(table: pd.DataFrame, column: str, codes: dict[str, bool], path: str | Path | UPath) -> pd.Series:
    """Convert a column of a table to booleans.

    Parameters
    ----------
    table : DataFrame of str
        What `read_table` returned.
    column : str
        Its column to convert.
    codes : dict of str to bool
        What a cell may hold, in lower case.
    path : str, Path or UPath
        The file, for the message.

    Returns
    -------
    Series of bool

    Raises
    ------
    ValueError
        If a cell holds anything else; names its line.
    """
    values = table[column].str.lower().map(codes)
    bad = table[column][values.isna()]
    if len(bad):
        expected = " or ".join(codes)
        raise ValueError(f"{path}, line {bad.index[0]}: {column} is {bad.iloc[0]!r}; expected {expected}")
    return values.astype(bool)


def check_unique(key: pd.DataFrame, path: str | Path | UPath) -> None:
    """Refuse a second row about the same thing.

    Parameters
    ----------
    key : DataFrame
        The columns that tell rows apart, indexed by line.
    path : str, Path or UPath
        The file, for the message.

    Raises
    ------
    ValueError
        If two rows have the same key; names both lines.
    """
    repeated = key.duplicated()
    if not repeated.any():
        return
    line = key.index[repeated][0]
    first = key.index[(key == key.loc[line]).all(axis=1)][0]
    names = ", ".join(f"{name} {value}" for name, value in key.loc[line].items())
    raise ValueError(f"{path}, line {line}: duplicate of line {first} ({names}); keep one of the two")


def _lines(path: str | Path | UPath, columns: str) -> list[tuple[int, list[str]]]:
    """Rows that are not blank, each with its line in the file."""
    path = Path(path) if isinstance(path, str) else path
    if (data := _files.read_bytes(path)) is None:
        raise FileNotFoundError(f"{path}: no such file; expected a CSV with {columns}")
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text; save it from the spreadsheet as 'CSV UTF-8'") from None
    except csv.Error as error:
        raise ValueError(f"{path}: not a CSV ({error}); save it from the spreadsheet as 'CSV UTF-8'") from None
    lines = [(number, row) for number, row in lines if any(row)]
    if not lines:
        raise ValueError(f"{path}: empty; expected a CSV with {columns}")
    return lines


def _trimmed(row: list[str], width: int) -> list[str]:
    """Drop the blank cells that spreadsheets append beyond the table's width."""
    while len(row) > width and not row[-1]:
        row = row[:-1]
    return row


def _check_header(path: Path | UPath, header: list[str], columns: tuple[str, ...]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        raise ValueError(f"{path}, line 1: missing columns {', '.join(missing)}; found {', '.join(header)}")
    unknown = [name for name in header if name not in columns]
    if unknown:
        raise ValueError(f"{path}, line 1: unknown columns {', '.join(unknown)}; expected only {', '.join(columns)}")
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise ValueError(f"{path}, line 1: column {twice[0]} appears {header.count(twice[0])} times; keep one")
