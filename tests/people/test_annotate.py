"""The annotator's page without a browser: what it sends, what it writes. Every answer is made by a rule."""

import asyncio
import errno
import os
import threading

import numpy as np
import pytest

from kd_lib.people import annotate, log, tasks
from kd_lib.people.log import Session
from kd_lib.people.widget import NOBODY

WHO = "a rule"


@pytest.fixture
def run(asked):
    """What people are asked about: the annotations, random images and random maps, those of each network stronger."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)
    return asked, images, {name: n * rng.normal(size=(30, 5, 32, 32)) for n, name in enumerate(asked.models, 1)}


def annotate_pairs(run, **more):
    return annotate.annotate_pairs(*run, **more)


def annotate_features(run, class_name, **more):
    return annotate.annotate_features(*run, class_name, **more)


def send(widget, action, value=None, *, note="", serial=None):
    """Do what the browser does, and give the page that comes back."""
    serial = widget.page["serial"] if serial is None else serial
    content = {"action": action, "value": value, "note": note, "id": f"{action} {value}", "serial": serial}
    widget._received(widget, content, [])
    assert widget.page["reply"] == content["id"]
    return widget.page


def saved(run):
    return Session([], run[0].pair_log(WHO)).answers


def test_a_page_is_blind_and_its_maps_share_one_scale(run):
    widget = annotate_pairs(run, annotator=WHO, number=8)
    page = widget.page
    item = widget._task.session.current
    sent = {key: value for key, value in page.items() if key != "pictures"}
    for told in (item, "distilled", "pearson", "swapped"):
        assert told not in repr(sent)
    pair = tasks.pair_of(item)
    two = [run[2][name][pair.image, pair.target] for name in (pair.model_a, pair.model_b)]
    pixels = [np.frombuffer(p["pixels"], np.uint8).reshape(32, 32, 4) for p in page["pictures"]]
    assert (pixels[0][..., :3] == run[1][pair.image].transpose(1, 2, 0)).all()
    strongest = int(np.argmax([np.abs(m).max() for m in two])) != pair.swapped(0)
    darkest = [p[..., :3].sum(-1).min() for p in pixels[1:]]
    assert int(np.argmin(darkest)) == strongest


def test_sides_are_drawn_and_swapped_when_asked_again(run):
    task = annotate_pairs(run, annotator=WHO, number=20, repeats=0.5)._task
    for item in (item for item in task.session.items if item.endswith(tasks.AGAIN)):
        first, again = (task.show(i)["pictures"] for i in (item.removesuffix(tasks.AGAIN), item))
        assert first[1]["pixels"] == again[2]["pixels"] != first[2]["pixels"]


def test_answers_are_saved_before_the_next_page_and_a_stale_page_answers_nothing(run):
    widget = annotate_pairs(run, annotator=WHO, number=8)
    first = widget._task.session.current
    assert send(widget, "answer", "same")["message"] == "Saved."
    assert saved(run) == {first: "same"}
    page = send(widget, "answer", "different", serial=0)
    assert page["message"].startswith("Not counted: the answer before had arrived after all")
    assert saved(run) == {first: "same"}
    page = send(widget, "undo")
    assert (page["before"], page["done"], page["message"]) == ("same", 0, "Taken back.")
    assert annotate_pairs(run, annotator=WHO, number=8)._task.session.current == first


def test_notes_are_kept_with_the_item(run):
    widget = annotate_pairs(run, annotator=WHO, number=8)
    first = widget._task.session.current
    send(widget, "note", note="only the ears")
    send(widget, "answer", "same", note="only the ears")
    assert Session([], run[0].pair_log(WHO)).notes == {first: "only the ears"}
    assert send(widget, "undo")["note"] == "only the ears"


def test_an_answer_that_is_none_is_refused(run):
    widget = annotate_pairs(run, annotator=WHO, number=8)
    page = send(widget, "answer", "smae")
    assert page["wrong"]
    assert page["message"].startswith("Not saved: answer is 'smae'")
    assert not list(run[0].folder.glob("*"))


def test_a_full_disk_is_said_and_the_page_stays(run, monkeypatch):
    widget = annotate_pairs(run, annotator=WHO, number=8)

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(log.os, "write", full)
    page = send(widget, "answer", "same")
    assert page["wrong"]
    assert page["serial"] == 0
    assert page["message"].startswith("Not saved: no space left to write ")
    monkeypatch.undo()
    assert send(widget, "answer", "same")["done"] == 1


def test_two_windows_of_one_name_are_told_and_can_go_on(run):
    one, two = (annotate_pairs(run, annotator=WHO, number=8) for _ in range(2))
    send(one, "answer", "same")
    page = send(two, "answer", "different")
    assert page["conflict"]
    assert "was changed by somebody else" in page["message"]
    page = send(two, "reload")
    assert (page["done"], page["message"]) == (1, "Read again: 1 answers.")
    assert send(two, "answer", "different")["done"] == 2
    assert list(saved(run).values()) == ["same", "different"]


def test_a_log_with_a_mistake_is_refused_at_once(run):
    send(annotate_pairs(run, annotator=WHO, number=8), "answer", "same")
    path = run[0].folder / f"pairs - {WHO}.csv"
    path.write_text(path.read_text().replace(",same,", ",sme,"))
    with pytest.raises(ValueError, match=r"pairs - a rule.csv, line 2: answer is 'sme'"):
        annotate_pairs(run, annotator=WHO, number=8)


def test_features_go_image_by_image_and_the_tables_follow(run):
    widget = annotate_features(run, "class 3", annotator=WHO, features=["eyes", "tail"])
    page = send(widget, "answer", ["tail"])
    assert page["features_off"] == ["eyes"]
    assert len(page["pictures"]) == 2
    send(widget, "answer", ["tail"])
    send(widget, "answer", [])
    assert not list(run[0].folder.glob("rq2*"))
    send(widget, "answer", ["tail"])
    table = (run[0].folder / "rq2 - class 3.csv").read_text().splitlines()
    assert table[0] == "image,model,eyes,tail"
    assert sorted(line.split(",", 2)[2] for line in table[1:]) == ["0,0", "0,1", "0,1"]
    page = send(widget, "undo")
    assert page["before"] == ["tail"]
    assert len((run[0].folder / "rq2 - class 3.csv").read_text().splitlines()) == 3
    with pytest.raises(ValueError, match="features eyes, nose: .*visible.csv has eyes, tail"):
        annotate_features(run, "class 3", annotator="b rule", features=["eyes", "nose"])


def test_the_next_answer_does_not_wait_for_the_tables(run, monkeypatch):
    widget = annotate_features(run, "class 3", annotator=WHO, features=["eyes", "tail"])
    may_go, written = threading.Event(), []

    def slow(*_):
        assert may_go.wait(30)
        written.append(len(widget._task.session.answers))
        raise OSError("no table today")

    monkeypatch.setattr(annotate, "write_tables", slow)

    async def kernel():
        for _ in range(4 + 4):  # two images with their three maps
            page = send(widget, "answer", ["tail"])
        await asyncio.sleep(0)
        assert (page["done"], page["message"], written) == (8, "Saved.", [])
        may_go.set()
        await widget._worker

    asyncio.run(kernel())
    assert written == [8]  # once for both
    assert widget.page["message"] == "The answer is saved, but not the tables: no table today"


def test_a_table_that_cannot_be_written_does_not_cost_the_answer(run):
    widget = annotate_features(run, "class 3", annotator=WHO, features=["eyes", "tail"])
    image = tasks.feature_of(widget._task.session.current)[0]
    (run[0].folder / "rq2 - class 3 - visible.csv").parent.mkdir(exist_ok=True)
    (run[0].folder / "rq2 - class 3 - visible.csv").write_text(f"image,eyes,tail\n{image},1,1\n")
    for ticks in (["tail"], [], [], []):
        page = send(widget, "answer", ticks)
    assert page["wrong"]
    assert page["message"].startswith("The answer is saved, but not the tables: ")
    assert "'eyes' is not what the annotators ticked" in page["message"]
    assert page["done"] == 4


def test_the_lists_of_features_are_the_tables_the_thesiss_or_the_views(run):
    assert annotate.default_features(run[0], "class 3") == ("view 1", "view 2", "view 3")
    run[0].folder.mkdir(exist_ok=True)
    (run[0].folder / "rq2 - class 3 - visible.csv").write_text("image,eyes\n0,1\n")
    assert annotate.default_features(run[0], "class 3") == ("eyes",)
    with pytest.raises(ValueError, match="class 'cat': expected one of class 0"):
        annotate_features(run, "cat")


def test_nobody_gets_a_picture_with_a_sentence_and_no_file(run):
    for shown in (annotate_pairs(run), annotate_features(run, "class 3")):
        assert 'src="data:image/png;base64,' in shown.data
        assert NOBODY in shown.data
        assert "<script" not in shown.data
    assert not list(run[0].folder.glob("*"))


def test_the_widget_carries_the_picture_for_pages_without_a_kernel(run):
    bundle, _ = annotate_pairs(run, annotator=WHO, number=3)._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "text/html"} <= set(bundle)
    assert NOBODY in bundle["text/html"]


@pytest.mark.parametrize("name", ["../x", "a - b"])
def test_bad_names_are_refused(run, name):
    with pytest.raises(ValueError, match="expected 1 to 40 letters"):
        annotate_pairs(run, annotator=name)


def test_the_desk_offers_both_tasks_and_says_what_is_wrong(run):
    desk = annotate.desk(*run)
    (name, task, start), wrong, place = desk.children[0].children, *desk.children[1:]
    assert [label for label, _ in task.options][:2] == ["Pairs: same or different?", "Features of class 0"]
    start.click()
    assert "expected 1 to 40 letters" in wrong.value
    name.value, task.value = WHO, "class 3"
    start.click()
    assert wrong.value == ""
    assert place.children[0].page["title"] == "Features: class 3"
