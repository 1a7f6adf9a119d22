"""Networks that somebody has already: a file of them, what can be wrong with it, and the study on them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image

from kd_lib import data, study
from kd_lib.book import __main__ as report
from kd_lib.maps import occluded_logits
from kd_lib.networks import Checkpoints, architectures, given
from kd_lib.study.run import Run
from tests import in_process
from tests.whole.test_notebooks import PROJECT, STUDY

FACTORY = """
import torch
from torch import nn

def net(width, classes=3):
    if width > 9:
        raise RuntimeError("too wide for this machine")
    return nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                         nn.Linear(16 * width, classes))

def number():
    return 7

class Of(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.net, self.what = net(4), what
        if what == "five dimensions":
            self.place = nn.Parameter(torch.ones(1, 1, 1, 1, 3))
        if what == "tied":
            self.net.append(nn.Linear(3, 3)).append(nn.Linear(3, 3))
            self.net[6].weight = self.net[5].weight
        if what == "batch norm":
            self.net.insert(1, nn.BatchNorm2d(4, track_running_stats=False))
        if what == "lazy":
            self.net[4] = nn.LazyLinear(3)
        if what == "hidden":
            self.register_buffer("noise", torch.randn(3), persistent=False)
        if what == "view":
            self.net = nn.Conv2d(3, 4, 3)
            self.head = nn.Linear(4 * 22 * 18, 3)
        if what == "empty":
            self.net = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        if self.what == "overwrites":
            x.sub_(0.5)
        y = self.net(x)
        if self.what == "view":
            return self.head(y.view(x.view(len(x), -1).shape[0], -1))
        if self.what == "dropout":
            y = y + 1e-2 * nn.functional.dropout(y, 0.1)
        if self.what in ("hidden", "five dimensions"):
            y = y + (self.noise if self.what == "hidden" else self.place.flatten())
        return {"tuple": (y, 0), "dict": {"logits": y}, "answer": Answer(y)}.get(self.what, y)

class Stateful(Of):
    def get_extra_state(self):
        return {"epoch": 3}

class Answer:
    def __init__(self, logits):
        self.logits = logits
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


def test_a_received_run_runs_nobodys_code_until_somebody_here_says_so(folder, images, tmp_path, monkeypatch):
    where, factory = folder
    path, run = write(where, {"one": small(factory), "two": small(factory)}), tmp_path / "run"
    execute(run, path, images, ["train_models"])
    assert isinstance(study.open(run).network("one"), torch.nn.Module)
    monkeypatch.setattr(given, "KEY", tmp_path / "of somebody else" / "key")
    monkeypatch.setattr(given, "build", None)
    with pytest.raises(ValueError, match=f"names code that is not the project's, {factory}, and nobody here has said"):
        study.open(run).network("one")
    monkeypatch.undo()
    entries = json.loads((run / "run.json").read_text())
    entries["networks"]["one"]["factory"] = "os:system"
    del entries["sha256"]
    (run / "run.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match="os:system"):
        study.open(run).network("two")


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
        ({"weights": "~/nowhere.pt"}, f"network 'x': its weights {Path.home()}/nowhere.pt are missing"),
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
        ("../a: {}", "network '../a': expected a name of up to 100 letters"),
        ("ensemble: {}", "network 'ensemble': expected a name"),
        ("01: {}", "network 1: expected a name .*in quotation marks where YAML reads no text"),
        ("~: {}", "network None: expected a name"),
        ("x" * 101 + ": {}", "x': expected a name"),
        ("a: resnet18", "network 'a' must have the keys factory"),
        ("a: {}\nb: {}\na: {}", "is not valid YAML: the key 'a' is there twice"),
        ("a: {role: other, role: component}", "the key 'role' is there twice"),
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


def prefixed(prefix, own):
    return {prefix + name: value for name, value in own.items()}


def checked(folder, dataset, network, weights):
    """The networks of a file of which one, x, is a given one, once they are checked."""
    folder, factory = folder
    entries = {"x": small(factory) | network | {"weights": weights}, "y": RESNET}
    read = given.read(write(folder, entries))
    given.check(read, dataset)
    return read


def of(folder, what, cls="Of"):
    """The entry of another network, and the network; its weights are in of.pt."""
    factory = folder[1].replace(":net", f":{cls}")
    torch.manual_seed(1)
    model = given.build("x", {"factory": factory, "arguments": {"what": what}, "folder": str(folder[0])})
    if what == "lazy":
        model(torch.zeros(1, 3, *SIZE))
    torch.save(model.state_dict(), folder[0] / "of.pt")
    return {"factory": factory, "arguments": {"what": what}}, model.eval()


@pytest.mark.parametrize("what", ["plain", "tied", "five dimensions", "lazy", "overwrites", "view"])
def test_what_the_check_lets_through_is_taken_into_a_run_and_answers_the_same(folder, dataset, what, tmp_path):
    entry, model = of(folder, what)
    kept = Checkpoints(tmp_path / "kept")
    recipes = given.take(checked(folder, dataset, entry, "of.pt"), kept)
    again = given.restore(kept, recipes, "x", device="cpu")
    images = dataset.normalise(dataset.probe.images)
    maps = [occluded_logits(network, images, patch=6, stride=6) for network in (model, again)]
    torch.testing.assert_close(*maps)
    assert torch.equal(images, dataset.normalise(dataset.probe.images))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("dropout", "network 'x' answers otherwise each time: .*F.dropout"),
        ("batch norm", "network 'x' answers otherwise about an image when others are in its batch"),
        ("hidden", "network 'x' answers otherwise once it is built again"),
        ("empty", "network 'x' has no parameters"),
        ("tuple", r"network 'x' returns tuple, expected one tensor of logits: .*`self.network\(images\)\[0\]`"),
        ("dict", r"network 'x' returns dict of \['logits'\], expected .*`self.network\(images\)\['logits'\]`"),
        ("answer", r"network 'x' returns Answer, expected .*`self.network\(images\).logits`"),
    ],
)
def test_a_network_that_no_run_can_use_is_refused(folder, dataset, what, message):
    entry, _ = of(folder, what)
    with pytest.raises(ValueError, match=message):
        checked(folder, dataset, entry, "of.pt")


def test_state_beside_tensors_as_of_quantised_layers_is_refused(folder, dataset):
    entry, _ = of(folder, "plain", "Stateful")
    with pytest.raises(ValueError, match="'_extra_state' of its state is no tensor of floats .dict."):
        checked(folder, dataset, entry, "of.pt")


def test_of_another_network_of_the_same_name_nothing_is_left(folder, tmp_path):
    folder, factory = folder
    path, place = write(folder, {"x": small(factory), "y": small(factory)}), Checkpoints(tmp_path)
    networks = given.read(path)
    for epoch in range(3):
        place.save("x", epoch, architectures.build("resnet10", 3))
    given.check_place(networks, place)
    given.take(networks, place)
    assert place.epochs("x") == [*range(len(networks[0].weights))]
    (tmp_path / "x" / "resume.pt").touch()
    with pytest.raises(ValueError, match="x holds a network that was trained in this run: give another run folder"):
        given.check_place(networks, place)


@pytest.mark.parametrize(
    ("wrapped", "said"),
    [
        (lambda own: own, None),
        (lambda own: prefixed("module.", own), "'module.'"),
        (lambda own: prefixed("module._orig_mod.", own), "'_orig_mod.', 'module.'"),
        (lambda own: {k.replace(".", "._orig_mod."): v for k, v in own.items()}, "'_orig_mod.'"),
        (lambda own: {"state_dict": prefixed("model.", own), "epoch": 3}, "'state_dict' .*, 'model.'"),
        (lambda own: {"n_averaged": torch.tensor(3)} | prefixed("module.", own), "'n_averaged', 'module.'"),
        (lambda own: {"model": own, "model_ema": {k: v + 9 for k, v in own.items()}}, "'model' .*'model_ema'"),
        (lambda own: {"ema": own, "optimizer": {"state": {}}}, "'ema' around it, its neighbours 'optimizer'"),
    ],
)
def test_what_frameworks_put_around_weights_is_taken_off_and_said(folder, dataset, wrapped, said, tmp_path, capsys):
    own = safetensors.torch.load_file(folder[0] / "small0.safetensors")
    torch.save(wrapped(own), folder[0] / "around.safetensors")  # whatever it is called
    read = checked(folder, dataset, {}, "around.safetensors")
    printed = capsys.readouterr().out
    assert (not printed) if said is None else re.search(f"'x': .*around.safetensors: taken without {said}", printed)
    kept = Checkpoints(tmp_path / "kept")
    found = given.restore(kept, given.take(read, kept), "x", device="cpu").state_dict()
    assert all(torch.equal(found[name], own[name]) for name in own)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda own: prefixed("encoder.", own) | {"head.bias": own["4.bias"]},
            "it has encoder.0.bias, .* where the network has 0.bias",
        ),
        (lambda own: {"a": own, "b": own}, "holds several state dicts, a, b: save the one that is meant alone"),
        (lambda own: {name: value * torch.nan for name, value in own.items()}, "answers what is no finite number"),
        (
            lambda own: {name: value.int() for name, value in own.items()},
            "holds '0.weight' in torch.int32, expected",
        ),
        (lambda own: {}, "holds nothing: none of it is a state dict"),
        (lambda own: {"epoch": 3, "args": {"lr": 1}}, "holds epoch, args: none of it is a state dict"),
        (lambda own: list(own.values()), "holds a list, expected a state dict"),
    ],
)
def test_a_file_that_holds_something_else_is_named_with_what_it_holds(folder, dataset, content, message):
    torch.save(content(safetensors.torch.load_file(folder[0] / "small0.safetensors")), folder[0] / "other.pt")
    with pytest.raises(ValueError, match=f"network 'x'.*{message}"):
        checked(folder, dataset, {}, "other.pt")


def test_safetensors_are_known_by_what_they_are(folder, dataset):
    (folder[0] / "small0.safetensors").rename(folder[0] / "weights.bin")
    checked(folder, dataset, {}, "weights.bin")
