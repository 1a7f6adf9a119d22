"""The parameters of a notebook: what its first cell declares, what a run may change, and how a wrong one is refused."""

import ast
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def declared(notebook: Path) -> dict[str, Any]:
    """Parameters that a py:percent notebook declares, and their defaults.

    A parameter is a module-level assignment with an annotation (``epochs: int = 8``), which the six notebooks use in
    their tagged parameters cell and nowhere else. They come in the order of the cell.
    """
    body = ast.parse(Path(notebook).read_text(encoding="utf-8")).body
    return {node.target.id: ast.literal_eval(node.value) for node in body if isinstance(node, ast.AnnAssign)}


def read_profile(profiles: Path, name: str) -> dict[str, Any]:
    """Read ``profiles/NAME.yaml``: the parameters in which a profile differs from the notebooks' defaults.

    A ValueError if there is no such profile, or it is not a flat mapping of names to values.
    """
    path = Path(profiles) / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in Path(profiles).glob("*.yaml")))
        raise ValueError(f"unknown profile '{name}'; the profiles are: {known}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must map parameter names to values, one a line ('epochs: 8'); found {values!r}")
    return values


def of_notebook(notebook: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that a notebook declares and that differ from its defaults.

    `values` are as a profile and the command line give them. A ValueError if a name is a parameter of no notebook
    beside this ``notebooks/NAME.py``.
    """
    known = {name for sibling in Path(notebook).parent.glob("*.py") for name in declared(sibling)}
    for name in values:
        if name not in known:
            raise ValueError(_unknown(name, known, "any notebook"))
    defaults = declared(notebook)
    return {name: value for name, value in values.items() if name in defaults and value != defaults[name]}


def check(namespace: Mapping[str, Any]) -> None:
    """Refuse unknown and ill-typed parameters; called with ``globals()`` in a notebook's first cell after them.

    The parameters are the annotated names of the namespace. Names that papermill injected (a cell that starts with ``#
    Parameters``) and that are not annotated are unknown: a ValueError. A whole number is accepted where a float is
    declared; any other value that is not of the declared type is a TypeError.
    """
    # Python 3.14 keeps the annotations behind a function (PEP 649).
    annotations = namespace.get("__annotations__") or namespace["__annotate__"](1)
    injected = [source for source in namespace.get("In", []) if source.startswith("# Parameters")]
    for node in (node for source in injected for node in ast.parse(source).body if isinstance(node, ast.Assign)):
        name = node.targets[0].id
        if name not in annotations:
            raise ValueError(_unknown(name, annotations, "this notebook"))
    for name, kind in annotations.items():
        value = namespace[name]
        accepted = kind | int if kind is float or float in getattr(kind, "__args__", ()) else kind
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            valid = ", ".join(f"{key}: {_spell(hint)}" for key, hint in annotations.items())
            raise TypeError(f"parameter {name} = {value!r} must be of type {_spell(kind)}; the parameters are: {valid}")


def chosen(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a notebook as they are, checked, see `check`."""
    check(namespace)
    annotations = namespace.get("__annotations__") or namespace["__annotate__"](1)
    return {name: namespace[name] for name in annotations}


def _spell(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _unknown(name: str, known: Any, whose: str) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    return f"'{name}' is not a parameter of {whose}{hint}; the parameters are: {', '.join(sorted(known))}"
