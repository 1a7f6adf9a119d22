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
    (tmp_path / "two.py").write_text("stride: int = 2\n")
    return tmp_path / "one.py"


def test_declared_are_the_annotated_names_with_their_defaults(notebook):
    expected = {"run": "runs/quick", "epochs": 8, "threshold": None, "flip": False}
    assert parameters.declared(notebook) == expected


def test_of_notebook_keeps_what_it_declares_and_what_differs(notebook):
    assert parameters.of_notebook(notebook, {"epochs": 8, "flip": True, "stride": 1}) == {"flip": True}


def test_of_notebook_refuses_a_name_that_no_notebook_declares(notebook):
    with pytest.raises(ValueError, match=r"'epoch' is not a parameter of any notebook \(did you mean 'epochs'\?\)"):
        parameters.of_notebook(notebook, {"epoch": 3})


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
    assert parameters.read_profile(tmp_path, "good") == {"epochs": 3}
    assert parameters.read_profile(tmp_path, "empty") == {}
    with pytest.raises(ValueError, match="unknown profile 'quik'; the profiles are: broken, empty, good, list"):
        parameters.read_profile(tmp_path, "quik")
    with pytest.raises(ValueError, match="must map parameter names"):
        parameters.read_profile(tmp_path, "list")
    with pytest.raises(ValueError, match="not valid YAML"):
        parameters.read_profile(tmp_path, "broken")
