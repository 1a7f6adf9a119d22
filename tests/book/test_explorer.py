"""The explorer: what is packed is what the maps are, and every control of its page leads to the right picture."""

import base64
import json
import shutil
from datetime import datetime
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kd_lib import data, study
from kd_lib.book import build, explorer
from kd_lib.figures import pictures
from kd_lib.maps import occlusion, store
from kd_lib.measures import similarity
from kd_lib.study.run import Run

BOOK = Path(__file__).resolve().parents[2] / "book"
T_C = 0.4
PARAMETERS = {
    "data_set": "multiview",
    "train_size": 40,
    "test_size": 60,
    "probe_per_class": 3,
    "image_size": 32,
    "mean": None,
    "std": None,
    "single_view": 0.2,
    "seed": 0,
    "ensemble_output": "logits",
}
EPOCHS = {"a": [0, 1, 2, 4], "b": [4], "distilled": [4]}
ROLES = {"a": "component", "b": "component", "distilled": "distilled"}


@cache
def load():
    return data.load("multiview", **{k: PARAMETERS[k] for k in ("train_size", "test_size", "probe_per_class")})


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Make a run of made-up outputs, in which the maps of a network approach its last ones."""

    def make(epochs=EPOCHS, roles=ROLES, spoil=None, name="little"):
        run, dataset = Run(tmp_path_factory.mktemp("runs") / name), load()
        run.claim(PARAMETERS, dataset_fingerprint=dataset.fingerprint)
        run.record("class_names", list(dataset.class_names))
        run.record("root", None)
        run.record("networks", {name: {"role": role} for name, role in roles.items()})
        run.write_csv(pd.DataFrame({"value": [T_C, 0.9], "source": "made up", "used": [True, False]}), "threshold")
        probe = dataset.probe
        explained = store.MapStore.create(
            run.occlusion,
            states=[(name, epoch) for name, known in epochs.items() for epoch in known],
            labels=probe.labels,
            index=probe.index,
            class_names=dataset.class_names,
            image_size=(32, 32),
            patch=8,
            stride=5,  # the last window hangs over the border
        )
        shape = store.open_logits(run.occlusion).shape[1:]
        shared = np.random.default_rng(0).normal(size=shape)
        for state, (name, epoch) in enumerate(explained.states):
            own, noise = (np.random.default_rng([ord(name[0]), e]).normal(size=shape) for e in (99, epoch))
            logits = (0.5 + epoch) * (shared + own) + 2 * noise
            if spoil is not None:
                spoil(logits)
            explained.write(state, 0, logits.astype(np.float32))
        return study.open(run)

    return make


@pytest.fixture(scope="module")
def run(make):
    return make()


@pytest.fixture(scope="module")
def packed(run):
    return explorer.pack(run)


def unpacked(packed, state):
    """Maps (N, K, H, W) of a packed state, and what a step of each is worth."""
    shape = len(packed["images"]), len(packed["classes"])
    steps = np.frombuffer(base64.b64decode(state["maps"]), "i1").reshape(*shape, -1)
    worth = np.frombuffer(base64.b64decode(state["scales"]), "<f4").reshape(shape)
    fall = steps * worth[..., None]
    outputs = np.concatenate([np.zeros((*shape, 1)), -fall], -1).swapaxes(-1, -2)
    return occlusion.saliency_maps(outputs, image_size=packed["size"], patch=8, stride=5).numpy(), worth


def numbers(packed):
    return [image["number"] for image in packed["images"]]


def test_images_are_two_of_each_class_as_they_are(packed):
    dataset = load()
    labels = dataset.probe.labels.numpy()
    assert [packed["classes"][image["label"]] for image in packed["images"]] == [
        name for name in dataset.class_names for _ in range(2)
    ]
    for image in packed["images"]:
        assert packed["classes"][image["label"]] == dataset.class_names[labels[image["number"]]]
        pixels = np.asarray(Image.open(BytesIO(base64.b64decode(image["picture"].partition(",")[2]))))
        np.testing.assert_array_equal(pixels.transpose(2, 0, 1), dataset.probe.images[image["number"]])


def test_maps_are_those_of_the_run_within_half_a_step(run, packed):
    assert {model["name"]: model["epochs"] for model in packed["models"]} == EPOCHS
    expected = [(packed["ensemble"], run.maps("ensemble"))]
    for model in packed["models"]:
        expected += [
            (state, run.maps(model["name"], epoch))
            for epoch, state in zip(model["epochs"], model["states"], strict=True)
        ]
    for state, maps in expected:
        found, worth = unpacked(packed, state)
        assert (np.abs(found - maps[numbers(packed)]) <= 0.501 * worth[..., None, None] + 1e-6).all()


def test_similarities_are_those_of_the_exact_maps(run, packed):
    reference = run.maps("ensemble")
    for model in packed["models"]:
        final = run.maps(model["name"])
        for epoch, state in zip(model["epochs"], model["states"], strict=True):
            maps = run.maps(model["name"], epoch)
            for key, other in (("to_final", final), ("to_ensemble", reference)):
                expected = similarity.pearson(maps, other)[numbers(packed)].ravel()
                np.testing.assert_allclose(np.array(state[key]) / 1000, expected, atol=5.01e-4)
    assert packed["threshold"] == T_C


def test_the_threshold_is_the_one_that_the_answers_were_given(make, tmp_path):
    folder = make().run.folder
    (folder / "parameters").mkdir()
    (folder / "parameters" / "rq3.yaml").write_text("threshold: 0.25\n")
    explorer.write(folder, tmp_path / explorer.NAME)
    assert '"threshold":0.25,' in (tmp_path / explorer.NAME).read_text()


def test_a_run_without_epochs_without_a_student_or_of_given_networks_is_packed(make):
    last = {name: [4] for name in EPOCHS}
    assert [model["epochs"] for model in explorer.pack(make(last))["models"]] == [[4]] * 3
    teachers = {name: EPOCHS[name] for name in "ab"}
    packed = explorer.pack(make(teachers, dict.fromkeys("ab", "component")))
    assert [model["kind"] for model in packed["models"]] == ["component", "component"]
    packed = explorer.pack(make({"mine": [0]}, {"mine": "other"}))
    assert packed["ensemble"] is None
    assert [model["title"] for model in packed["models"]] == ["mine"]
    assert set(packed["models"][0]["states"][0]) == {"maps", "scales", "to_final"}


def test_what_is_no_number_has_no_similarity_and_a_map_of_no_scale(make):
    def diverge(logits):
        logits[0] = np.nan

    packed = explorer.pack(make(spoil=diverge))
    position = numbers(packed).index(0)
    own = slice(10 * position, 10 * position + 10)
    for model in packed["models"]:
        for state in model["states"]:
            assert state["to_final"][own] == state["to_ensemble"][own] == [None] * 10
            assert np.isnan(unpacked(packed, state)[1]).sum() == 10
    json.dumps(packed, allow_nan=False)


def test_a_run_that_lacks_something_is_refused_by_name(make, tmp_path):
    run = make()
    shutil.rmtree(run.occlusion / "logits" / "c" / "2")
    with pytest.raises(ValueError, match="run generate_saliency_maps"):
        explorer.pack(run)
    page = explorer.place(tmp_path / "static", [run.run.folder])  # of a study that stopped half-way
    assert page.startswith(explorer.NONE)
    assert "run generate_saliency_maps" in page
    assert not explorer.write(tmp_path, tmp_path / "x.js")
    assert not (tmp_path / "x.js").exists()


def test_what_is_packed_keeps_to_its_limit(run):
    pictures = sum(len(image["picture"]) for image in explorer.pack(run)["images"])
    for limit in (180_000, 250_000, 400_000):
        packed = explorer.pack(run, limit=limit)
        assert len(json.dumps(packed, separators=(",", ":"))) < limit + 2000
    assert len(packed["models"][0]["epochs"]) == 4
    packed = explorer.pack(run, limit=pictures + 60_000)
    assert [model["epochs"][-1] for model in packed["models"]] == [4, 4, 4]
    assert len(packed["images"]) == len(packed["classes"]) == 10


def test_plans_of_the_studys_sizes():
    components = {name: list(range(9)) for name in "abcd"}
    quick = explorer.plan(
        components | {"distilled": [8]}, num_classes=10, windows=225, ensemble=True, characters=1_390_000
    )
    assert quick[:2] == (10, 2)
    assert [len(known) for known in quick.epochs.values()] == [9, 9, 1, 1, 1]
    full = {name: list(range(65)) for name in "abcd"} | {"distilled": [64]}
    paper = explorer.plan(full, num_classes=10, windows=841, ensemble=True, characters=1_390_000)
    assert paper[:2] == (10, 1)
    assert paper.epochs["a"][0] == 0
    assert [known[-1] for known in paper.epochs.values()] == [64] * 5
    many = explorer.plan({"mine": [0]}, num_classes=1000, windows=2809, ensemble=False, characters=1_390_000)
    assert 2 <= many.classes < 1000


@given(st.integers(1, 200), st.integers(1, 200))
def test_thinned_epochs_are_as_many_as_asked_for_and_end_with_the_last(number, count):
    epochs = list(range(0, 3 * number, 3))
    kept = explorer.thin(epochs, count)
    assert len(kept) == min(count, number)
    assert kept == sorted(set(kept) & set(epochs))
    assert kept[-1] == epochs[-1]
    assert count == 1 or kept[0] == 0


def test_a_book_without_maps_says_so(tmp_path):
    page = build.fill((BOOK / "explorer.md").read_text(), explorer=explorer.place(tmp_path, []))
    assert explorer.NONE in page
    assert "explorer.js" not in page
    assert not list(tmp_path.iterdir())


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other(make):
    """A second edition: one network, no ensemble, no epochs."""
    return make({"mine": [0]}, {"mine": "other"}, name="other")


@pytest.fixture(scope="module")
def page_of(browser, run, other, tmp_path_factory):
    """Open the explorer, as it is in the book, on a page of its own; complaints of the page fail the test."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(BOOK, site / "book")
    kept = tmp_path_factory.mktemp("editions") / "little"
    explorer.write(run.run.folder, kept / explorer.NAME)
    shutil.copy(run.run.folder / "run.json", kept)
    shutil.move(site / "book" / "_static", site / "_static")
    shown = explorer.place(site / "_static", [kept, other.run.folder])
    block = shown.split("```{raw} html\n")[1].split("\n```")[0]
    html = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>x</title><main>{block}</main></html>'
    (site / "book" / "explorer.html").write_text(html)
    complaints, contexts = [], []

    def open_page(hash_="", **options):
        contexts.append(browser.new_context(viewport={"width": 900, "height": 1200}, offline=True, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.goto((site / "book" / "explorer.html").as_uri() + hash_)
        if options.get("java_script_enabled", True):
            page.locator("canvas").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


def drawn(locator):
    """Pixels (32, 32, 4) of a canvas or a picture."""
    values = locator.evaluate(
        """source => { const c = new OffscreenCanvas(32, 32).getContext("2d"); c.drawImage(source, 0, 0);
        return [...c.getImageData(0, 0, 32, 32).data]; }"""
    )
    return np.reshape(values, (32, 32, 4))


def check(page, run, packed, *, position, target, model, epoch, own_scale=False):
    """Compare what the page shows with the arrays that it comes from."""
    image, chosen = numbers(packed)[position], next(m for m in packed["models"] if m["name"] == model)
    maps = {e: run.maps(model, e)[image, target] for e in chosen["epochs"]}
    shown = {chosen["title"]: maps[epoch]}
    if packed["ensemble"]:
        shown["the ensemble"] = run.maps("ensemble")[image, target]
    for name, map_ in shown.items():
        beside = [] if own_scale else [*maps.values(), *shown.values()]
        expected = pictures.colour_maps([map_, *beside])[0]
        found = drawn(page.locator(f'canvas[aria-label^="map of {name}"]'))
        assert np.abs(found - expected.astype(int)).max() <= 8, name  # of 255, for steps of 1/127
    expected = load().probe.images[image].numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(drawn(page.locator(".explorer-stack img").first)[..., :3], expected)
    reading = page.locator("[aria-live]").inner_text()
    alike = similarity.pearson(maps[epoch], maps[chosen["epochs"][-1]])
    if len(maps) > 1:
        side = "above" if alike >= T_C else "below"
        assert f"{round(float(alike), 3):.2f} to its own final map, {side} T_c" in reading
    if packed["ensemble"]:
        alike = float(similarity.pearson(maps[epoch], shown["the ensemble"]))
        assert f"epoch {epoch}: " in reading
        assert f"to the ensemble's map, {'above' if alike >= T_C else 'below'} T_c" in reading
        assert abs(float(reading.split(": ")[1].split()[0].replace("−", "-")) - alike) <= 0.0056


def test_every_control_leads_to_the_right_picture(page_of, run, other, packed):
    page = page_of()
    assert page.locator("canvas:not([aria-label])").count() == 0
    label = packed["images"][0]["label"]
    check(page, run, packed, position=0, target=label, model="a", epoch=4)
    page.get_by_role("radio", name=f"image {numbers(packed)[7]}, class 3").check(force=True)
    check(page, run, packed, position=7, target=3, model="a", epoch=4)
    assert page.get_by_label("Class explained").input_value() == "class 3"
    page.get_by_label("Class explained").select_option("class 5")
    check(page, run, packed, position=7, target=5, model="a", epoch=4)
    page.get_by_role("radio", name=f"image {numbers(packed)[2]}, class 1").check(force=True)
    check(page, run, packed, position=2, target=5, model="a", epoch=4)  # a class that was chosen stays
    for step, epoch in enumerate(EPOCHS["a"]):
        page.get_by_role("slider", name="Epoch").fill(str(step))
        check(page, run, packed, position=2, target=5, model="a", epoch=epoch)
    page.get_by_role("slider", name="Epoch").fill("1")
    page.get_by_label("Each map on a scale").check()
    check(page, run, packed, position=2, target=5, model="a", epoch=1, own_scale=True)
    page.get_by_label("Each map on a scale").uncheck()
    page.get_by_role("radio", name="distilled").check(force=True)
    check(page, run, packed, position=2, target=5, model="distilled", epoch=4)
    assert page.get_by_role("slider", name="Epoch").is_disabled()
    page.get_by_role("radio", name="component a").check(force=True)
    check(page, run, packed, position=2, target=5, model="a", epoch=1)  # the epoch that was chosen comes back
    page.get_by_label("Maps over the image").fill("40")
    assert page.locator("canvas").first.evaluate("c => getComputedStyle(c).opacity") == "0.4"

    chart = page.locator(".explorer-chart > svg").bounding_box()
    page.mouse.click(chart["x"] + chart["width"] / 2, chart["y"] + chart["height"] / 2)
    check(page, run, packed, position=2, target=5, model="a", epoch=2)
    page.get_by_role("radio", name="component b").check(force=True)
    page.get_by_label("Edition").select_option(index=1)
    page.get_by_role("radio", name="mine").wait_for()
    assert page.locator("canvas").count() == 1
    check(page, other, explorer.pack(other), position=2, target=5, model="mine", epoch=0)
    assert page.locator("[aria-live]").inner_text() == "There is no other map to compare this one with."
    assert not page.locator(".explorer-chart").is_visible()


def test_playing_goes_from_the_first_epoch_to_the_last(page_of, run, packed):
    page = page_of()
    page.clock.install(time=datetime(2026, 1, 1))
    page.clock.pause_at(datetime(2026, 1, 2))
    page.get_by_role("button", name="Play").click()
    for epoch in EPOCHS["a"]:
        check(page, run, packed, position=0, target=0, model="a", epoch=epoch)
        assert page.locator(".explorer-reading").get_attribute("aria-live") == "off"
        page.clock.run_for(700)
    assert page.get_by_role("button", name="Play").is_visible()
    assert page.locator(".explorer-reading").get_attribute("aria-live") == "polite"


def test_the_keyboard_reaches_every_control(page_of, run, packed):
    page = page_of()
    press = page.keyboard.press
    press("Tab")
    focused = "document.activeElement.labels[0].textContent"
    assert page.evaluate(focused).startswith("Edition")
    for key, network in (("ArrowDown", "mine"), ("ArrowUp", "component a")):
        press(key)
        page.get_by_role("radio", name=network).wait_for()
        page.wait_for_function(f"{focused}.startsWith('Edition')")
    for _ in range(2):
        press("Tab")
        press("ArrowDown")  # the next image, then the next class than its own
    press("Tab")
    press("ArrowRight")
    press("ArrowLeft")
    for _ in range(2):
        press("Tab")
    press("ArrowLeft")
    check(page, run, packed, position=1, target=1, model="a", epoch=2)
    press("Tab")
    press("Home")
    press("Tab")
    press("Space")
    check(page, run, packed, position=1, target=1, model="a", epoch=2, own_scale=True)
    assert page.locator("canvas").first.evaluate("c => getComputedStyle(c).opacity") == "0"
    press("Tab")
    assert page.evaluate("document.activeElement === document.body")
    page.get_by_role("button", name="Play").focus()
    press("Enter")
    assert page.get_by_role("button", name="Pause").is_visible()
    press("Enter")
    assert page.get_by_role("button", name="Play").is_visible()


def test_the_address_restores_the_view(page_of, run, packed):
    page = page_of()
    page.get_by_role("radio", name=f"image {numbers(packed)[4]}, class 2").check(force=True)
    page.get_by_label("Class explained").select_option("class 9")
    page.get_by_role("slider", name="Epoch").fill("2")
    page.get_by_label("Maps over the image").fill("60")
    page.get_by_label("Each map on a scale").check()
    page.wait_for_function("location.hash.includes('scale=own')")
    hash_ = page.evaluate("location.hash")
    again = page_of(hash_)
    check(again, run, packed, position=4, target=9, model="a", epoch=2, own_scale=True)
    assert again.get_by_label("Maps over the image").input_value() == "60"
    again.evaluate("location.hash = 'image=99999&class=nothing&model=nobody&epoch=soon&opacity=x'")
    again.wait_for_function("location.hash.includes('opacity=100')")
    check(again, run, packed, position=0, target=0, model="a", epoch=4)
    again.evaluate("location.hash = 'a-heading'")
    check(again, run, packed, position=0, target=0, model="a", epoch=4)
    page = page_of("#edition=other")
    assert page.get_by_label("Edition").input_value().startswith("other")


def test_without_scripts_the_page_says_why_it_is_empty(page_of):
    assert explorer.SCRIPTLESS in page_of(java_script_enabled=False).inner_text("main")
