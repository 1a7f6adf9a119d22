"""Networks that somebody has already: a file of them, what can be wrong with it, and the study on them."""

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image

from kd_lib import data
from kd_lib.book import __main__ as report
from kd_lib.networks import architectures, given
from kd_lib.study.run import Run
from tests import in_process
from tests.whole.test_notebooks import PROJECT, STUDY

FACTORY = """
from torch import nn

def net(width, classes=3):
    if width > 9:
        raise RuntimeError("too wide for this machine")
    return nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                         nn.Linear(16 * width, classes))

def number():
    return 7
"""
SIZE = (24, 20)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of small pictures of noise, each of a colour."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 6)):
        for k, name in enumerate(("red", "green", "blue")):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 120, (*SIZE, 3), dtype=np.uint8)
                pixels[..., k] += 100
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def dataset(images):
    return data.load(f"imagefolder:{images}", probe_per_class=2, image_size=SIZE)


@pytest.fixture
def folder(tmp_path, request):
    """Weights of two architectures, and a module with a factory of its own name, for a module is imported once."""
    name = f"mine_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{name}.py").write_text(FACTORY)
    torch.manual_seed(0)
    scope = {}
    exec(FACTORY, scope)
    for number in range(4):
        safetensors.torch.save_file(scope["net"](4).state_dict(), tmp_path / f"small{number}.safetensors")
    torch.save(architectures.build("resnet10", 3).state_dict(), tmp_path / "resnet.pt")
    return tmp_path, f"{name}:net"


def small(factory, **changes):
    return {"factory": factory, "arguments": {"width": 4}, "weights": "small0.safetensors", "role": "other"} | changes


RESNET = {
    "factory": "kd_lib.networks:build",
    "arguments": {"arch": "resnet10", "num_classes": 3},
    "weights": "resnet.pt",
    "role": "other",
}


def write(folder, entries):
    path = folder / "models.yaml"
    path.write_text(yaml.safe_dump(entries, sort_keys=False))
    return path


def execute(run, path, images, notebooks=STUDY, **values):
    shared = {"run": str(run), "threshold": 0.5}
    shared |= {"data_set": "imagefolder", "root": str(images), "models": str(path), "image_size": list(SIZE)}
    shared |= {
        "train_size": 0,
        "test_size": 0,
        "probe_per_class": 2,
        "stride": 4,
        "device": "cpu",
        "executor": "",
    } | values
    shown = {}
    for name in notebooks:
        own = report.parameters.of_notebook(PROJECT / "notebooks" / f"{name}.py", shared)
        shown[name] = in_process.execute(name, own)
    return shown


def test_an_ensemble_its_student_and_another_network_go_through_the_whole_study(folder, images, tmp_path):
    folder, factory = folder
    entries = {
        "a": small(factory, role="component", weights=["small1.safetensors", "small0.safetensors"]),
        "b": small(factory, role="component", weights="small2.safetensors"),
        "student": small(factory, role="distilled", weights="small3.safetensors"),
        "resnet": RESNET,
    }
    run = tmp_path / "run"
    execute(run, write(folder, entries), images, ensemble_output="probs")
    place = Run(run)
    networks = place.entry("networks")
    assert {name: own["role"] for name, own in networks.items()} == {n: e["role"] for n, e in entries.items()}
    assert place.checkpoints.epochs("a") == [0, 1]
    assert set(place.read_csv("rq3_shares")["kind"]) == {"component", "leave-one-out", "distilled", "other"}
    assert set(place.read_csv("rq2_shares_by_pair")["pair"]) == {"a – b", "a – resnet", "b – resnet"}
    assert set(place.read_csv("rq1_curves")["model"]) == {"a"}
    assert place.read_csv("accuracy")["network"].tolist()[-3:] == ["ensemble", "distilled", "resnet"]
    # Other weights under the same names are another run.
    entries["b"]["weights"] = "small3.safetensors"
    with pytest.raises(ValueError, match="belongs to other parameters .network b: "):
        execute(run, write(folder, entries), images, STUDY[:1], ensemble_output="probs")


def test_two_networks_without_an_ensemble_are_compared(folder, images, tmp_path, capsys):
    folder, factory = folder
    run = tmp_path / "run"
    path = write(folder, {"small": small(factory), "resnet": RESNET})
    execute(run, path, images, [name for name in STUDY if name not in ("threshold_determination", "rq3")])
    capsys.readouterr()
    shown = execute(run, path, images, ["rq3"])["rq3"]
    place = Run(run)
    assert set(place.read_csv("rq2_shares_by_pair")["pair"]) == {"small – resnet"}
    assert place.read_csv("accuracy")["network"].tolist() == ["small", "resnet"]
    printed = capsys.readouterr().out.splitlines()
    assert any("No ensemble, which takes two components" in line for line in printed)
    assert any("Nothing to draw for" in str(getattr(output, "data", "")) for output in shown)
    assert not any(line.endswith((": True", ": False")) for line in printed)  # nothing is claimed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"role": "student"}, "network 'x': role 'student', expected component, distilled, other"),
        ({"weigths": "y"}, r"network 'x': unknown key 'weigths' \(did you mean 'weights'\?\)"),
        ({"weights": None}, "network 'x': the key 'weights' is missing"),
        ({"factory": "torch.nn.Linear"}, "network 'x': factory 'torch.nn.Linear', expected package.module:function"),
        ({"factory": "nowhere.at:all"}, "network 'x': cannot import its factory nowhere.at:all .ModuleNotFoundError"),
        ({"factory": "torch:nothing"}, "network 'x': cannot import its factory torch:nothing .AttributeError"),
        ({"arguments": [4]}, r"network 'x': arguments \[4\], expected names and values"),
        ({"arguments": {"width": 10}}, "network 'x': its factory .* fails .* too wide for this machine"),
        ({"arguments": {"depth": 10}}, "network 'x': its factory .* fails .*TypeError"),
        ({"arguments": {"width": 5}}, "network 'x': .*small0.safetensors holds other weights .*size mismatch"),
        ({"arguments": {"width": 4, "classes": 2}}, "network 'x': .*small0.safetensors holds other weights"),
        ({"weights": "nowhere.pt"}, "network 'x': its weights .*nowhere.pt are missing"),
        ({"weights": "broken.safetensors"}, "network 'x': .*broken.safetensors is no safetensors file"),
        ({"weights": "pickle.pt"}, "network 'x': .*pickle.pt is no safetensors file and no state dict .* read safely"),
    ],
)
def test_what_is_wrong_is_named(folder, dataset, changes, message):
    folder, factory = folder
    (folder / "broken.safetensors").write_bytes(b"no")
    torch.save(architectures.build("resnet10", 3), folder / "pickle.pt")
    path = write(folder, {"y": RESNET, "x": small(factory) | changes})
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        given.check(given.read(path), dataset)


def test_a_network_of_other_classes_or_of_no_classes_at_all_is_named(folder, dataset):
    folder, factory = folder
    torch.save(architectures.build("resnet10", 5).state_dict(), folder / "five.pt")
    five = RESNET | {"arguments": {"arch": "resnet10", "num_classes": 5}, "weights": "five.pt"}
    path = write(folder, {"y": small(factory), "five": five})
    with pytest.raises(ValueError, match=r"network 'five' returns \(5,\) outputs an image: expected \(3,\)"):
        given.check(given.read(path), dataset)
    path = write(folder, {"y": small(factory), "seven": small(factory.replace(":net", ":number"), arguments={})})
    with pytest.raises(ValueError, match="network 'seven': its factory returns int, expected a torch.nn.Module"):
        given.check(given.read(path), dataset)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid YAML"),
        ("- a", "must map names of networks"),
        ("../a: {}", "network '../a': expected a name of letters"),
        ("ensemble: {}", "network 'ensemble': expected a name"),
        ("a: resnet18", "network 'a' must have the keys factory"),
    ],
)
def test_a_file_that_is_no_list_of_networks_is_refused(tmp_path, text, message):
    (tmp_path / "models.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        given.read(tmp_path / "models.yaml")
    with pytest.raises(FileNotFoundError, match="nowhere.yaml is missing"):
        given.read(tmp_path / "nowhere.yaml")


def test_one_network_or_two_students_make_no_study(folder):
    folder, factory = folder
    with pytest.raises(ValueError, match="holds one network"):
        given.read(write(folder, {"x": RESNET}))
    with pytest.raises(ValueError, match="x and y are both distilled"):
        given.read(write(folder, {name: small(factory, role="distilled") for name in "xy"}))
