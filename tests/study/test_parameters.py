import pytest

from kd_lib.study import parameters

CELL = 'run: str = "runs/quick"  # folder\nepochs: int = 8\nthreshold: float | None = None\nflip: bool = False\n'


def namespace(injected=""):
    """What a kernel holds after the parameters cell and papermill's own."""
    scope = {}
    exec(CELL, scope)
    exec(injected, scope)
    return scope | {"In": ["", CELL, f"# Parameters\n{injected}"]}


@pytest.fixture
def notebook(tmp_path):
    (tmp_path / "one.py").write_text(CELL + "x = 1\n")
    return tmp_path / "one.py"


@pytest.fixture
def several(notebook):
    more = "rate: float = 0.1\nbaseline: float | str = 0.0\ntechniques: list = []\n"
    (notebook.parent / "two.py").write_text(more)
    return [notebook, notebook.parent / "two.py"]


def test_declared_are_the_annotated_names_with_their_defaults(notebook):
    expected = {"run": "runs/quick", "epochs": 8, "threshold": None, "flip": False}
    assert parameters.declared(notebook) == expected


def test_of_notebook_keeps_what_it_declares_and_what_differs(notebook):
    assert parameters.of_notebook(notebook, {"epochs": 8, "flip": True, "stride": 1}) == {"flip": True}


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("rate=1e-3", "rate", 0.001),
        ("rate=5E2", "rate", 500.0),
        ("rate=.5", "rate", 0.5),
        ("rate=2", "rate", 2),
        ("epochs=010", "epochs", 10),
        ("flip=true", "flip", True),
        ("threshold=", "threshold", None),
        ("threshold=~", "threshold", None),
        ("techniques=", "techniques", []),
        ("techniques=[plain, no]", "techniques", ["plain", "no"]),
        ("baseline=1e-1", "baseline", 0.1),
        ("baseline=mean", "baseline", "mean"),
        *((f"run={text}", "run", text) for text in ("", "010", "~", "a: b", "no # one", "[x", "1=2", "2024-01-01")),
    ],
)
def test_a_value_on_the_command_line_is_what_its_parameter_declares(several, override, name, value):
    found = parameters.resolve(several, {"epochs": 3}, [override])
    assert found == {"epochs": 3} | {name: value}
    assert type(found[name]) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", r"'epoch' is not a parameter of any notebook \(did you mean 'epochs'\?\)"),
        ("epochs", "'epochs' must have the form name=value"),
        ("epochs=", "parameter epochs = None must be of type int"),
        ("epochs=1e1", "parameter epochs = 10.0 must be of type int"),
        ("epochs=1:30", "parameter epochs = '1:30' must be of type int"),
        ("rate=fast", "parameter rate = 'fast' must be of type float"),
        ("flip=no", "parameter flip = 'no' must be of type bool"),
        ("techniques=[a", r"techniques=\[a is not valid YAML: "),
    ],
)
def test_a_wrong_value_on_the_command_line_is_refused_by_name(several, override, message):
    with pytest.raises((ValueError, TypeError), match=message):
        parameters.resolve(several, {}, [override])


def test_places_of_images_and_models_are_absolute(tmp_path, monkeypatch):
    (tmp_path / "one.py").write_text('root: str = ""\nmodels: str = ""\n')
    monkeypatch.chdir(tmp_path)
    found = parameters.resolve([tmp_path / "one.py"], {"models": ""}, ["root=my photos/../x"])
    assert found == {"root": str(tmp_path / "x"), "models": ""}


@pytest.mark.parametrize("injected", ["", "epochs = 3", "threshold = 0.5", "threshold = 1", "run = 'elsewhere'"])
def test_valid_parameters_pass(injected):
    parameters.check(namespace(injected))


@pytest.mark.parametrize("injected", ["epochs = 'three'", "epochs = 2.5", "epochs = True", "flip = 1", "run = None"])
def test_ill_typed_parameters_are_named_with_the_valid_ones(injected):
    name = injected.split()[0]
    with pytest.raises(TypeError, match=rf"parameter {name} = .* must be of type .*run: str, epochs: int"):
        parameters.check(namespace(injected))


def test_an_unknown_parameter_is_named_with_the_valid_ones():
    with pytest.raises(ValueError, match="'treshold' is not a parameter.*did you mean 'threshold'.*epochs, flip, run"):
        parameters.check(namespace("treshold = 0.5"))


def test_profiles(tmp_path):
    (tmp_path / "good.yaml").write_text("epochs: 3\n")
    (tmp_path / "empty.yaml").write_text("# nothing differs\n")
    (tmp_path / "list.yaml").write_text("- 3\n")
    (tmp_path / "broken.yaml").write_text("epochs: [3\n")
    (tmp_path / "twice.yaml").write_text("epochs: 3\nflip: true\nepochs: 4\n")
    assert parameters.read_profile(tmp_path, "good") == {"epochs": 3}
    assert parameters.read_profile(tmp_path, "empty") == {}
    with pytest.raises(ValueError, match="unknown profile 'quik'; the profiles are: broken, empty, good, list, twice"):
        parameters.read_profile(tmp_path, "quik")
    with pytest.raises(ValueError, match="must map parameter names"):
        parameters.read_profile(tmp_path, "list")
    with pytest.raises(ValueError, match="not valid YAML"):
        parameters.read_profile(tmp_path, "broken")
    with pytest.raises(ValueError, match="twice.yaml is not valid YAML: the key 'epochs' is there twice"):
        parameters.read_profile(tmp_path, "twice")
