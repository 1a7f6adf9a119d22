"""The parameters of a notebook: what its first cell declares, what a run may change, and how a wrong one is refused."""

import ast
import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_lib import _files

REPLACE = "KD_LIB_REPLACE"  # environment variable of whoever makes all answers of a run again, see `Study.keep`


def declared(notebook: Path) -> dict[str, Any]:
    """Parameters that a py:percent notebook declares, and their defaults.

    A parameter is a module-level assignment with an annotation (``epochs: int = 8``), which the seven notebooks use in
    their tagged parameters cell and nowhere else. They come in the order of the cell.
    """
    return {node.target.id: ast.literal_eval(node.value) for node in _declarations(notebook)}


def kinds(notebook: Path) -> dict[str, Any]:
    """Types of the parameters that a notebook declares, of builtins only."""
    return {node.target.id: eval(ast.unparse(node.annotation), {}) for node in _declarations(notebook)}


def _declarations(notebook: Path) -> list[Any]:
    body = ast.parse(Path(notebook).read_text(encoding="utf-8")).body
    return [node for node in body if isinstance(node, ast.AnnAssign)]


def read_profile(profiles: Path, name: str) -> dict[str, Any]:
    """Read ``profiles/NAME.yaml``: the parameters in which a profile differs from the notebooks' defaults.

    A ValueError if there is no such profile, or it is not a flat mapping of names to values.
    """
    path = Path(profiles) / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in Path(profiles).glob("*.yaml")))
        raise ValueError(f"unknown profile '{name}'; the profiles are: {known}")
    try:
        values = _files.parse_yaml(path.read_text(encoding="utf-8")) or {}
    except ValueError as error:
        raise ValueError(f"{path} is {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must map parameter names to values, one a line ('epochs: 8'); found {values!r}")
    return values


def resolve(notebooks: Sequence[Path], values: Mapping[str, Any], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Add what a command line says to the values of a profile.

    Parameters
    ----------
    notebooks : sequence of Path
        All of them, ``notebooks/NAME.py``.
    values : mapping
        Parameter names and values.
    overrides : sequence of str
        ``name=value`` each; they win. The text is the value of a parameter that is text, and else YAML.

    Returns
    -------
    dict of str to value
        Of the declared types. Where images, models and people's labels are is absolute.

    Raises
    ------
    ValueError, TypeError
        If a name is a parameter of no notebook, an override has no such form, or a value is not of the declared type.
    """
    known = {name: kind for notebook in notebooks for name, kind in kinds(notebook).items()}
    values = dict(values)
    for pair in overrides:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} must have the form name=value")
        try:
            values[name] = _understood(text, known.get(name, str))
        except ValueError as error:
            raise ValueError(f"{name}={text} is {error}") from None
    for name, value in values.items():
        if name not in known:
            raise ValueError(_unknown(name, known, "any notebook"))
        _check_type(name, value, known)
    for name in {"root", "models", "human_labels"} & {name for name in values if values[name]}:
        values[name] = os.path.abspath(os.path.expanduser(values[name]))
    return values


def _understood(text: str, kind: Any) -> Any:
    """Read a value from the command line; nothing is an empty text or list where that is what is declared."""
    if kind is str or (kind is list and not text):
        return kind(text)
    value = _files.parse_yaml(text)
    return value if isinstance(value, int | float) or kind != float | str else text


def of_notebook(notebook: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that a notebook declares and that differ from its defaults.

    `values` are those of all notebooks, see `resolve`.
    """
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
    for name in annotations:
        _check_type(name, namespace[name], annotations)


def _check_type(name: str, value: Any, kinds: Mapping[str, Any]) -> None:
    """Raise a TypeError unless a value is of its parameter's type; a whole number will do for a float."""
    kind = kinds[name]
    accepted = kind | int if kind is float or float in getattr(kind, "__args__", ()) else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        valid = ", ".join(f"{key}: {_spell(hint)}" for key, hint in kinds.items())
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


def check_ranges(of: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse values that one of the notebooks would refuse, before the first of them begins.

    What only images, networks or results can tell is left to the notebooks.

    Parameters
    ----------
    of : mapping
        All parameters of each notebook, by its name.

    Raises
    ------
    ValueError, TypeError
        Names the value.
    """
    from types import SimpleNamespace

    import pandas as pd
    import torch

    from kd_lib import _workers
    from kd_lib.data import SIZE
    from kd_lib.maps import occlusion
    from kd_lib.maps.store import SETTINGS
    from kd_lib.measures import threshold as thresholds
    from kd_lib.measures.similarity import check_threshold
    from kd_lib.networks.regime import check_number
    from kd_lib.networks.training import pick_device
    from kd_lib.people.log import check_name
    from kd_lib.study import choices, lessons, pipeline

    begun, maps, fitted = (of[name] for name in ("train_models", "generate_saliency_maps", "threshold_determination"))
    least = {"train_size": 0, "test_size": 0, "probe_per_class": 1, "seed": 0, "example": 0, "pairs_to_label": 1}
    for own in of.values():
        for name in least.keys() & own.keys():
            check_number(name, own[name], least=least[name], most=2**63 - 1)
        check_number("view_share", own.get("view_share", 1), above=0, most=1)
        if own.get("threshold") is not None:
            check_threshold(own["threshold"])
        if own.get("annotator"):
            check_name(own["annotator"])
        _workers.check_executor(own.get("executor", ""))
        pick_device(own.get("device", "auto"))
    lessons.check(of["inheritance"])
    check_number("single_view", begun["single_view"], least=0, most=1)
    if begun["ensemble_output"] not in ("logits", "probs"):
        raise ValueError(f"unknown ensemble_output {begun['ensemble_output']!r}: expected 'logits' or 'probs'")
    if not begun["models"]:
        pipeline.regime(begun)
        pipeline.recipes(begun, 2)
        check_number("temperature", begun["temperature"], above=0)
        check_number("hard_weight", begun["hard_weight"], least=0, most=1)
        if not 0 <= (every := maps["every_epoch"] or 0) <= begun["components"]:
            raise ValueError(f"every_epoch={every}: expected 0 to {begun['components']}, the number of components")
    size = begun["image_size"] if begun["data_set"].startswith("imagefolder") else SIZE
    sides = tuple(size) if isinstance(size, list) else (size, size)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f"image_size={size!r}: expected a side in pixels, or height and width")
    occlusion.windows(sides, maps["patch"], maps["stride"])
    occlusion.pick_precision(maps["precision"], torch.device("cpu"))
    occlusion.baseline_images(maps["baseline"], torch.zeros(1, 3, *sides))
    thresholds.choose(pd.DataFrame(), measure=fitted["measure"], loss=fitted["loss"], source="")
    # As far as a run that is not there yet can say.
    store = SimpleNamespace(image_size=sides, settings={name: maps[name] for name in SETTINGS})
    settings = {"ensemble_output": begun["ensemble_output"]} if begun["models"] else begun
    choices.read(of["rq3"]["choices"], SimpleNamespace(parameters=settings, store=store))
