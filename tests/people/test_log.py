"""The log of an annotator and its replay. Every answer in here is made by a rule; no person gave one."""

import errno
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lib.people import log
from kd_lib.people.log import COLUMNS, TORN, Conflict, Log, Session

ITEMS = [f"{n}/0/a/b" for n in range(5)]
HEADER = ",".join(COLUMNS)
ROW = "2026-01-31T12:00:00+00:00,a rule,0/0/a/b,answer,same,"


def check(item, action, answer):
    if item not in ITEMS:
        raise ValueError(f"item {item!r} is not in this run")
    if action == "answer" and answer not in ("same", "different"):
        raise ValueError(f"answer is {answer!r}; expected same or different")


def session(path, items=ITEMS):
    return Session(items, Log(path, "a rule", check))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "annotations" / "pairs - a rule.csv"


class Reference:
    """What the state has to be, written for clarity: every list is copied at every step, undo takes the last copy."""

    def __init__(self):
        self.queue, self.answers, self.notes, self.before = list(ITEMS), {}, {}, []

    def step(self, action, text):
        if action == "note" and self.queue:
            self.notes[self.queue[0]] = text
        elif action == "undo" and self.before:
            self.queue, self.answers = self.before.pop()
        elif action in ("answer", "skip") and self.queue:
            self.before.append((self.queue, dict(self.answers)))
            first, *rest = self.queue
            if action == "answer":
                self.answers = self.answers | {first: text}
            self.queue = rest if action == "answer" else [*rest, first]


def act(session, action, text):
    item = session.current
    if action == "undo":
        return session.undo()
    if item is None:
        return False
    if action == "note":
        return session.note(item, text)
    return session.answer(item, text) if action == "answer" else session.skip(item)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), st.sampled_from(["same", "different"])),
        st.tuples(st.sampled_from(["undo", "skip", "reopen"]), st.just("")),
        st.tuples(st.just("note"), st.text(st.characters(codec="utf-8"), max_size=8).map(log.tidy)),
        st.tuples(st.just("crash"), st.integers(0, 300)),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_any_actions_and_crashes_replay_to_the_right_state(steps):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pairs - a rule.csv"
        now, reference, earlier = session(path), Reference(), []
        for action, value in steps:
            if action == "crash":  # the last row is torn at any byte, the line end included
                if earlier:
                    data, (size, reference) = path.read_bytes(), earlier.pop()
                    path.write_bytes(data[: size + value % (len(data) - size)])
                    earlier = []
                now = session(path)
            elif action == "reopen":
                now = session(path)
            else:
                size, kept = path.stat().st_size if path.exists() else 0, Reference()
                kept.__dict__ |= {k: v.copy() for k, v in vars(reference).items()}
                reference.step(action, value)
                if act(now, action, value):
                    earlier.append((size, kept))
            assert now.answers == reference.answers
            assert list(now.answers) == list(reference.answers)
            assert {k: v for k, v in now.notes.items() if v} == {k: v for k, v in reference.notes.items() if v}
            assert list(now._queue) == reference.queue
            assert now.steps == len(reference.before)
            assert now.done == len(reference.answers)
        rows = Log(path, "a rule", check).read()
        assert [row.annotator for row in rows] == ["a rule"] * len(rows)


def test_rows_that_stand_are_never_touched(path):
    now = session(path)
    now.answer(ITEMS[0], "same", 'a note, with "quotes"; and\na line')
    before = path.read_bytes()
    assert before.decode().splitlines()[0] == HEADER
    path.write_bytes(before + b'2026-01-31T12:00:00+00:00,a rule,"torn')
    now = session(path)
    assert now.log.torn == 1
    now.answer(ITEMS[1], "different")
    after = path.read_bytes()
    assert after.startswith(before)
    assert after.decode().splitlines()[2].endswith(TORN)
    again = session(path)
    assert again.answers == {ITEMS[0]: "same", ITEMS[1]: "different"}
    assert again.notes == {ITEMS[0]: 'a note, with "quotes"; and a line'}


@pytest.mark.parametrize("note", [TORN, f"a{TORN} {TORN}", "x" * 5000, "=1+1", '"', "\x00"])
def test_no_note_can_break_the_file(path, note):
    now = session(path)
    now.answer(ITEMS[0], "same", note)
    again = session(path)
    assert again.answers == {ITEMS[0]: "same"}
    assert again.notes == now.notes


def test_nothing_is_written_before_the_first_action(path):
    assert session(path).current == ITEMS[0]
    assert not path.parent.exists()


def test_a_second_click_answers_nothing(path):
    now = session(path)
    assert now.answer(ITEMS[0], "same")
    assert not now.answer(ITEMS[0], "same")
    assert now.answers == {ITEMS[0]: "same"}


def test_skipped_items_come_back_at_the_end_and_undo_takes_skips_back_too(path):
    now = session(path)
    now.skip(ITEMS[0])
    now.answer(ITEMS[1], "same")
    now = session(path)
    assert list(now._queue) == [*ITEMS[2:], ITEMS[0]]
    assert now.undo()
    assert now.undo()
    assert not now.undo()
    assert list(now._queue) == ITEMS


def test_a_longer_list_goes_on_where_the_shorter_one_stopped(path):
    now = session(path, ITEMS[:2])
    now.answer(ITEMS[0], "same")
    now.answer(ITEMS[1], "different")
    assert now.current is None
    assert session(path).current == ITEMS[2]
    assert session(path).done == 2
    other = session(path, ITEMS[3:])
    assert (other.done, other.current, len(other.answers)) == (0, ITEMS[3], 2)


@pytest.mark.parametrize("bad", ["", " ana", "../ana", "a/b", "a - b", "a\nb", "x" * 41, "ana "])
def test_names_that_are_no_file_names_are_refused(path, bad):
    with pytest.raises(ValueError, match="annotator .*: expected 1 to 40 letters"):
        Log(path, bad)


@pytest.mark.parametrize("name", ["ana", "Zoë K.", "O'Neil", "A2", "x", "李"])
def test_names_of_people_are_taken(path, name):
    assert Log(path, name).annotator == name


def test_a_name_is_the_same_however_a_system_spells_its_accents(path):
    assert Log(path, "Zoe\u0308").annotator == "Zo\u00eb"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text + "\n,,,,,\n",
    ],
    ids=["windows", "bom", "semicolons", "tabs", "blank rows"],
)
def test_what_spreadsheets_do_is_taken_as_meant_and_can_be_appended_to(path, change):
    path.parent.mkdir()
    path.write_bytes(change(f"{HEADER}\n{ROW}\n").encode())
    before = path.read_bytes()
    now = session(path)
    assert now.answers == {ITEMS[0]: "same"}
    now.answer(ITEMS[1], "different", "a; b, c\td")
    assert path.read_bytes().startswith(before)
    assert session(path).answers == {ITEMS[0]: "same", ITEMS[1]: "different"}
    assert session(path).notes == {ITEMS[1]: "a; b, c d"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time|annotator\n", r"line 1: expected the columns time,.*; found 'time\|annotator'"),
        ("no header", "line 1: expected the columns time,.*; found 'no header'"),
        (f"{HEADER}\n2026-01-31,a rule\n", "line 2: 2 cells, expected 6"),
        (f'{HEADER}\n{ROW}"a note\n', "line 2: a quotation mark is not closed"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "line 3: '0/0/a/b' is answered already"),
        (f"{HEADER}\n{ROW.replace('a rule', 'b rule')}\n", "line 2: annotator is 'b rule' in the file of 'a rule'"),
        (f"{HEADER}\n{ROW.replace('answer', 'anser')}\n", "line 2: action is 'anser'; expected answer, undo"),
        (f"{HEADER}\n{ROW.replace('2026', 'late ')}\n", "line 2: time is 'late -01-31"),
        (f"{HEADER}\n{ROW.replace('same', 'smae')}\n", "line 2: answer is 'smae'; expected same or different"),
        (f"{HEADER}\n{ROW.replace('0/0', '99/0')}\n", "line 2: item '99/0/a/b' is not in this run"),
        (f"{HEADER}\n{ROW.replace('answer,same', 'undo,')}\n", "line 2: undo of '0/0/a/b', but there is no step"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('answer,same', 'skip,')}\n", "line 3: '0/0/a/b' is skipped but answered"),
    ],
)
def test_hand_edited_mistakes_name_file_line_and_value_and_touch_nothing(path, text, message):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        session(path)
    assert str(path) in str(error.value)
    assert path.read_text() == text


def test_not_utf8_is_said(path):
    path.parent.mkdir()
    path.write_bytes(f"{HEADER}\n{ROW}é\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8 text"):
        session(path)


def test_two_windows_of_one_person_do_not_mix(path):
    one, two = session(path), session(path)
    one.answer(ITEMS[0], "same")
    before = path.read_bytes()
    with pytest.raises(Conflict, match="was changed by somebody else"):
        two.answer(ITEMS[0], "different")
    assert path.read_bytes() == before
    two.reload()
    assert two.current == ITEMS[1]
    assert two.answer(ITEMS[1], "same")


def test_two_who_begin_at_once_leave_one_header(tmp_path):
    def begin(log, barrier):
        barrier.wait()
        try:
            return log.append(item=ITEMS[0], action="answer", answer="same")
        except Conflict:
            return None

    for number in range(40):
        path, barrier = tmp_path / str(number) / "pairs - a rule.csv", threading.Barrier(2)
        logs = [session(path).log for _ in range(2)]
        with ThreadPoolExecutor() as pool:
            written = list(pool.map(begin, logs, [barrier] * 2))
        assert sum(row is not None for row in written) == 1
        assert len(session(path).answers) == 1


def test_a_full_disk_keeps_the_state_and_the_answer_can_be_sent_again(path, monkeypatch):
    now = session(path)
    now.answer(ITEMS[0], "same")
    real = os.write

    def half(descriptor, data):
        return real(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(log.os, "write", half)
    with pytest.raises(OSError, match="no space left to write .*pairs - a rule.csv") as error:
        now.answer(ITEMS[1], "different")
    assert error.value.errno == errno.ENOSPC
    assert now.current == ITEMS[1]
    monkeypatch.undo()
    assert now.answer(ITEMS[1], "different")
    assert session(path).answers == {ITEMS[0]: "same", ITEMS[1]: "different"}


def test_a_disk_that_says_no_after_the_row_arrived_gets_it_only_once(path, monkeypatch):
    now = session(path)

    def fail(descriptor):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(log.os, "fsync", fail)
    with pytest.raises(OSError, match="input/output error"):
        now.answer(ITEMS[0], "same")
    monkeypatch.undo()
    assert not now.answer(ITEMS[0], "same")
    assert now.answers == session(path).answers == {ITEMS[0]: "same"}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_read_only_folder_is_said_and_how_to_mend_it(path, monkeypatch, number):
    def closed(*_):
        raise OSError(number, os.strerror(number), str(path))

    now = session(path)
    monkeypatch.setattr(log.os, "open", closed)
    with pytest.raises(OSError, match="no permission to write .*pairs - a rule.csv: make it and its folder writable"):
        now.answer(ITEMS[0], "same")
    assert now.current == ITEMS[0]


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    now = session(tmp_path / "annotations" / "pairs - a rule.csv")
    (tmp_path / "annotations").write_text("a file")
    with pytest.raises(OSError, match="annotations"):
        now.answer(ITEMS[0], "same")
    assert now.current == ITEMS[0]


def test_ten_thousand_items_take_no_more_calls_an_action_than_ten(tmp_path, monkeypatch):
    """Counted in calls, not in seconds: an action reads nothing, and touches the list in one place."""
    monkeypatch.setattr(log.os, "fsync", lambda descriptor: None)
    few, many = (calls_of_three_actions(tmp_path / f"pairs {n}.csv", n) for n in (10, 10_000))
    assert many < 1.5 * few


def calls_of_three_actions(path, n):
    now = session_of_any(path, n)
    for item in now.items[: n // 2]:
        now.answer(item, "same")
    now, events = session_of_any(path, n), 0

    def count(*_):
        nonlocal events
        events += 1
        return count

    sys.settrace(count)
    try:
        now.skip(now.current)
        now.answer(now.current, "same")
        now.undo()
    finally:
        sys.settrace(None)
    return events


def session_of_any(path, n):
    return Session([str(i) for i in range(n)], Log(path, "a rule"))


def test_time_left_is_the_pace_times_what_is_left(path):
    path.parent.mkdir()
    rows = [ROW.replace("0/0", f"{n}/0").replace("12:00:00", f"12:00:{10 * n:02}") for n in range(3)]
    path.write_text("\n".join([HEADER, *rows, ""]))
    assert session(path).seconds_left == 10 * 2
    path.write_text("\n".join([HEADER, *rows[:2], ""]))
    assert session(path).seconds_left is None
