"""What one annotator did, as a file that only grows: a row an action, replayed to the state in which one goes on.

A line is written whole, in one call, and forced to the disk before the answer counts as given. A crash can tear the
last line only; such a line has no line end, is ignored, and is ended with a mark before the next one is written.
"""

import csv
import errno
import io
import os
import re
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

from upath import UPath

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from kd_lib._files import is_remote, read_bytes
from kd_lib.people.tables import SEPARATORS, cells, decoded, separator_of

COLUMNS = ("time", "annotator", "item", "action", "answer", "note")
ACTIONS = ("answer", "undo", "skip", "note")
TORN = "#torn"  # ends a line that a crash tore
NOTE = 2000  # characters of the longest note
PAUSE = 300  # seconds: a longer one between two answers was no work

Check = Callable[[str, str, str], None]  # item, action, answer -> ValueError that names what is wrong with them


@dataclass(frozen=True)
class Row:
    """One action of one annotator; `line` is its place in the file."""

    time: str
    annotator: str
    item: str
    action: str
    answer: str = ""
    note: str = ""
    line: int = 0


class Conflict(ValueError):
    """Somebody else has written to the file since it was read."""


def check_name(annotator: str) -> str:
    """Refuse a name that cannot be part of a file's name on every system; give it in one spelling of its accents."""
    annotator = unicodedata.normalize("NFC", annotator)
    if not re.fullmatch(r"\w(?:[\w .'-]{0,38}[\w.])?", annotator) or " - " in annotator:
        expected = "1 to 40 letters, digits, blanks or . ' - _, the first a letter or digit, and no ' - ' within"
        raise ValueError(f"annotator {annotator!r}: expected {expected}")
    return annotator


class Log:
    """The file of one annotator.

    It, and its folder, are made with the first row; in an object store it can only be read. A row is refused if it is
    somebody else's, or if ``check(item, action, answer)`` raises ValueError, since its item or answer cannot be.
    """

    def __init__(self, path: Path | UPath, annotator: str, check: Check = lambda item, action, answer: None):
        self.path, self.annotator, self._check = path, check_name(annotator), check
        self.torn = 0  # lines that a crash tore
        self._size = 0  # bytes that this object knows of
        self._tail = b""  # what the file ends with, where it is no whole line
        self._separator = SEPARATORS[0]

    def read(self) -> list[Row]:
        """Read all rows; none where there is no file.

        Windows line ends, a byte-order mark, semicolons or tabs between the cells, and blank lines are taken as they
        are meant. ValueError names file, line and value of a row that is broken, somebody else's, or fails the check.
        """
        data = read_bytes(self.path) or b""
        body, end, tail = data.rpartition(b"\n")
        if not end and not self._line(COLUMNS).startswith(tail):
            lines = decoded(tail, self.path)  # no row was torn, for the names of the columns are not there
        else:
            whole = [b"" if line.endswith(TORN.encode()) else line for line in (body + end).split(b"\n")]
            lines = decoded(b"\n".join(whole), self.path)[:-1]
        rows = self._rows(lines)
        self._size, self._tail = len(data), tail
        self.torn = (body + end).count(f"{TORN}\n".encode()) + bool(tail)
        return rows

    def append(self, item: str, action: str, answer: str = "", note: str = "") -> Row:
        """Write one row and force it to the disk; after an error it does not count.

        Raises Conflict if the file has grown or shrunk since it was read, OSError if the folder is read-only or the
        disk full, and ValueError if the row fails the check or the file lies in an object store.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        if is_remote(self.path):
            raise ValueError(f"{self.path} lies in an object store, where no file can grow: label a copy on a disk")
        self._check(item, action, answer)
        row = Row(time, self.annotator, item, action, answer, tidy(note))
        line = self._line(astuple(row)[: len(COLUMNS)])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            try:
                if fcntl is not None:  # of two who write at once, one waits and then sees what the other wrote
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._unchanged(os.fstat(descriptor).st_size)
                self._write(descriptor, self._start() + line)
                self._unchanged(os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _refused(error, self.path) from error
        return row

    def _start(self) -> bytes:
        """Say what has to stand before the next row: the names of the columns, or the end of a torn line."""
        header = self._line(COLUMNS)
        if self._size == len(self._tail) and header.startswith(self._tail):
            return header[len(self._tail) :]
        return f"{TORN}\n".encode() if self._tail else b""

    def _write(self, descriptor: int, data: bytes) -> None:
        size, self._size = self._size, -1  # until the disk has it, only reading again tells what the file holds
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, "no space left")
        os.fsync(descriptor)
        self._size, self._tail = size + len(data), b""

    def _unchanged(self, size: int) -> None:
        if size != self._size:
            raise Conflict(
                f"{self.path} was changed by somebody else while {self.annotator!r} was at work here: close the other "
                "window, or let each person take a name of their own; then read the file again"
            )

    def _line(self, cells: Iterable[str]) -> bytes:
        buffer = io.StringIO()
        csv.writer(buffer, delimiter=self._separator, lineterminator="\n").writerow(cells)
        return buffer.getvalue().encode()

    def _rows(self, lines: list[str]) -> list[Row]:
        if not lines:
            return []
        self._separator = separator_of(lines[0])
        if tuple(name.strip(' "') for name in lines[0].split(self._separator)) != COLUMNS:
            what = f"expected the columns {','.join(COLUMNS)}; found {lines[0]!r}. Put that line back"
            raise ValueError(f"{self.path}, line 1: {what}")
        return [self._row(number, line) for number, line in enumerate(lines[1:], 2) if line.strip(SEPARATORS + " ")]

    def _row(self, number: int, line: str) -> Row:
        """Read a row; the ValueError of a mistake says where it stands."""
        try:
            found = cells(line, self._separator)
            if len(found) != len(COLUMNS):
                expected = f"expected {len(COLUMNS)} ({', '.join(COLUMNS)}) in {line!r}"
                raise ValueError(f"{len(found)} cells, {expected}; mend or remove the line")
            row = Row(*found, line=number)
            if row.annotator != self.annotator:
                where = f"{row.annotator!r} in the file of {self.annotator!r}"
                raise ValueError(f"annotator is {where}; each person has a file of their own, move the line there")
            if row.action not in ACTIONS:
                raise ValueError(f"action is {row.action!r}; expected {', '.join(ACTIONS)}")
            try:
                datetime.fromisoformat(row.time)
            except ValueError:
                raise ValueError(f"time is {row.time!r}; expected one like 2026-01-31T12:00:00+00:00") from None
            self._check(row.item, row.action, row.answer)
        except ValueError as error:
            raise ValueError(f"{self.path}, line {number}: {error}") from None
        return row


class Session:
    """Where an annotator is in a list of items, in the order in which they are asked: what is answered, what is next.

    The log is read and replayed; every action is appended to it before it counts. An action takes the same time,
    however long the list.

    Attributes
    ----------
    answers, notes : dict of str to str
        By item, in the order in which they were given; also of items that are not in the list.
    mentioned : set of str
        Items that any action was about.
    done : int
        How many of the items are answered.
    """

    def __init__(self, items: Iterable[str], log: Log):
        self.items, self.log = list(dict.fromkeys(items)), log
        self.reload()

    def reload(self) -> None:
        """Read the file again; ValueError also if an item is answered twice, or a step undone that was not the last."""
        self._queue, self._listed, self.done = OrderedDict.fromkeys(self.items), frozenset(self.items), 0
        self.answers, self.notes, self.mentioned, self._steps, self._times = {}, {}, set(), [], []
        self._broken = True
        for row in self.log.read():
            self._apply(row)
        self._broken = False

    @property
    def current(self) -> str | None:
        """The item to answer; None where all are done."""
        return next(iter(self._queue), None)

    @property
    def steps(self) -> int:
        """How many steps can be undone."""
        return len(self._steps)

    @property
    def last(self) -> str | None:
        """What undo takes back, an answer; None for a skip, or where there is no step."""
        return self.answers.get(self._steps[-1][0]) if self._steps else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest will take at the pace of the last 30 answers; None after fewer than three."""
        paces = [b - a for a, b in zip(self._times[:-1], self._times[1:], strict=True) if 0 <= b - a < PAUSE]
        return sum(paces) / len(paces) * len(self._queue) if len(paces) > 1 else None

    def answer(self, item: str, answer: str, note: str = "") -> bool:
        """Answer the current item; False, and nothing written, where `item` is not the current one (a second click)."""
        return self._act(item, "answer", answer, note)

    def skip(self, item: str, note: str = "") -> bool:
        """Put the current item at the end; False where `item` is not the current one."""
        return self._act(item, "skip", "", note)

    def undo(self) -> bool:
        """Take the last answer or skip back and make its item the current one; False where there is none."""
        self._mend()
        return bool(self._steps) and self._append(self._steps[-1][0], "undo")

    def note(self, item: str, note: str) -> bool:
        """Keep a note about an item; False where it is the one that is kept already."""
        self._mend()
        return tidy(note) != self.notes.get(item, "") and self._append(item, "note", note=note)

    def _act(self, item: str, action: str, answer: str, note: str) -> bool:
        self._mend()
        note = "" if tidy(note) == self.notes.get(item, "") else note
        return item == self.current and self._append(item, action, answer, note)

    def _mend(self) -> None:
        if self._broken:  # a row may have reached the disk although the disk said no
            self.reload()

    def _append(self, *cells: str, **more: str) -> bool:
        try:
            row = self.log.append(*cells, **more)
        except OSError:
            self._broken = True
            raise
        self._apply(row)
        return True

    def _apply(self, row: Row) -> None:
        self.mentioned.add(row.item)
        if row.note or row.action == "note":
            self.notes[row.item] = row.note
        where = f"{self.log.path}, line {row.line}"
        if row.action == "answer":
            if row.item in self.answers:
                raise ValueError(f"{where}: {row.item!r} is answered already; remove one of the two lines")
            self._queue.pop(row.item, None)
            self.answers[row.item] = row.answer
            self.done += row.item in self._listed
            self._steps.append((row.item, "answer"))
            self._times = [*self._times[-30:], datetime.fromisoformat(row.time).timestamp()]
        elif row.action == "skip":
            if row.item in self.answers:
                raise ValueError(f"{where}: {row.item!r} is skipped but answered already; remove the line")
            self._queue[row.item] = None
            self._queue.move_to_end(row.item)
            self._steps.append((row.item, "skip"))
        elif row.action == "undo":
            if not self._steps or self._steps[-1][0] != row.item:
                last = f"the last step was about {self._steps[-1][0]!r}" if self._steps else "there is no step before"
                raise ValueError(f"{where}: undo of {row.item!r}, but {last}; remove the line")
            if self._steps.pop()[1] == "answer":
                del self.answers[row.item]
                self.done -= row.item in self._listed
            self._queue[row.item] = None
            self._queue.move_to_end(row.item, last=False)


def tidy(note: str) -> str:
    """Make a note one line of at most 2,000 characters that no reader takes for a torn one."""
    note = " ".join(note.split())[:NOTE].strip()
    while note.endswith(TORN):
        note = note.removesuffix(TORN).strip()
    return note


def _refused(error: OSError, path: Path) -> OSError:
    """`error`, or for what a person can mend, one that says how."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(error.errno, f"no space left to write {path}: free some, then answer again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        mend = "make it and its folder writable, then answer again"
        return OSError(error.errno, f"no permission to write {path}: {mend}")
    return error
