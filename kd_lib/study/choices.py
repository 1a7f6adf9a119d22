"""Carry out parts of a run again, with something chosen otherwise.

A choice is spelled as the parameters that it changes, ``patch=2`` or ``optimiser=adam max_lr=0.005``:

- ``output`` (logits, centred, probs, log-probs) is what the maps explain: the stored occluded logits will do;
- ``patch``, ``stride``, ``baseline``, ``precision`` of the occlusion: the networks are explained again, into
  ``choices/NAME/occlusion.zarr`` of the run's folder; of a stride that is a multiple of the run's own, the windows that
  are there already are taken;
- any parameter by which the networks were trained: they are trained again, as the run ``choices/NAME``.

Whatever is there already is kept, so a call that was killed goes on where it stopped.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from upath import UPath

from kd_lib import _files
from kd_lib.maps import occlusion
from kd_lib.maps.store import SETTINGS
from kd_lib.networks.regime import Regime
from kd_lib.study import pipeline, truth
from kd_lib.study.reading import Study, images
from kd_lib.study.run import Run

if TYPE_CHECKING:
    from distributed import Client

OUTPUT = "output"
FOLDER = "choices"  # of a run
OF_THE_STUDENT = {"temperature", "hard_weight", "ensemble_output"}  # parameters that leave the components as they are


@dataclass(frozen=True)
class Choice:
    """What is chosen otherwise.

    Attributes
    ----------
    name : str
        As it was spelled.
    output : dict
        What the maps explain, as `output`, see `maps.saliency_maps`; empty leaves it as it is.
    maps, training : dict
        Parameters of the occlusion and of the training that change.
    """

    name: str
    output: dict[str, str] = field(default_factory=dict)
    maps: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


def read(names: Sequence[str], here: Study) -> list[Choice]:
    """Understand how choices are spelled, before anything is computed.

    Parameters
    ----------
    names : sequence of str
        Each ``parameter=value``, or several of them with blanks between; values are read as YAML.
    here : Study
        Of the run which has made its own choices.

    Raises
    ------
    ValueError
        If one is not of that form, or this run has no such parameter, or the value is of no use; names the choice.
    """
    return [_read(name, here) for name in dict.fromkeys(map(str, names))]


def _read(name: str, here: Study) -> Choice:
    settings, regime = here.parameters, {entry.name for entry in fields(Regime)}
    trainable = set(settings) - {"data_set"} if regime <= set(settings) else set()
    choice = Choice(name)
    for pair in name.split() or [""]:
        key, _, text = pair.partition("=")
        if not text or "/" in pair:
            raise ValueError(f"choice {name!r}: expected parameter=value, such as 'patch=2', or several with blanks")
        known = [OUTPUT, *SETTINGS, *sorted(trainable.difference(SETTINGS))]
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"choice {name!r}: {key!r} cannot be chosen{hint}; what can is {', '.join(known)}")
        part = choice.output if key == OUTPUT else choice.maps if key in SETTINGS else choice.training
        part[key] = _files.parse_yaml(text)
    try:
        _check(choice, here)
    except (ValueError, TypeError) as error:
        raise ValueError(f"choice {name!r}: {error}") from None
    return choice


def _check(choice: Choice, here: Study) -> None:
    """Refuse values of no use; what only training finds out is left to it."""
    settings, size = here.parameters, here.store.image_size
    if (output := choice.output.get(OUTPUT, "probs")) not in occlusion.OUTPUTS:
        raise ValueError(f"unknown output {output!r}: expected {', '.join(map(repr, occlusion.OUTPUTS))}")
    if output == "logits" and settings["ensemble_output"] == "probs":
        raise ValueError("an ensemble that averages probabilities has no logits: expected 'probs' or 'log-probs'")
    wanted = here.store.settings | choice.maps
    occlusion.windows(tuple(size), wanted["patch"], wanted["stride"])
    occlusion.baseline_images(wanted["baseline"], torch.zeros(1, np.size(wanted["baseline"]), *size))
    for name, value in choice.training.items():
        if type(value) is not type(settings[name]) and (type(value), type(settings[name])) != (int, float):
            raise TypeError(f"{name} is {value!r}: expected the like of {settings[name]!r}")
    if choice.training:
        pipeline.regime(settings | choice.training)


def carry_out(choice: Choice, here: Study, *, device: str = "auto", executor: "str | Client | None" = "") -> Study:
    """Compute what a choice still lacks.

    Parameters
    ----------
    choice : Choice
        What `read` made of it.
    here : Study
        Of a run that is trained and explained. Nothing of it is changed.
    device : {'auto', 'cpu', 'cuda'}
    executor : str or distributed.Client
        Which trains and explains, see `_workers.connect`.

    Returns
    -------
    Study
        To be read in the place of `here`.
    """
    output, folder = choice.output.get(OUTPUT, "logits"), here.run.folder / FOLDER / choice.name
    where = {"device": device, "executor": executor}
    if not choice.training:
        chosen = Study(here.run, occlusion=folder / "occlusion.zarr" if choice.maps else None, output=output)
        if choice.maps:
            same = {"same": here, "copied": here.networks + here.techniques}
            pipeline.explain(chosen, _states(chosen, here), here.store.settings | choice.maps, **same, **where)
        return chosen
    other = _begin(Run(folder), here, choice)
    pipeline.train(other, **where)
    finals = [(name, other.run.checkpoints.last_epoch(name)) for name in other.networks]
    pipeline.explain(
        other,
        _states(other, here),
        here.store.settings | choice.maps,
        same=here,
        copied=here.components if _leaves_components(choice) else (),
        **where,
    )
    if other.drawn and not _files.is_there(truth.kept(other.run)):
        truth.remove_views(other, finals, device=device)
    return Study(other.run, output=output)


def _begin(run: Run, here: Study, choice: Choice) -> Study:
    """Begin a run of components and the distilled network, without controls; components that stay are copied."""
    settings = here.parameters | choice.training | {"controls": False, "root": here.root}
    dataset = images(settings, here.root)
    recipes = pipeline.recipes(settings | {"techniques": [], "students": 1}, len(dataset.class_names))
    other = pipeline.begin(run, settings, dataset, networks=recipes)
    if _leaves_components(choice):
        for name in other.components:
            _copy(here.run.checkpoints.folder / name, run.checkpoints.folder / name)
    return other


def _copy(source: Path | UPath, target: Path | UPath) -> None:
    """Copy the files of a folder that are not there yet; in the order of their names, which puts `resume.pt` last."""
    for name in _files.names_in(source):
        if not _files.is_there(target / name):
            _files.write_bytes(target / name, _files.read_bytes(source / name))


def _states(chosen: Study, here: Study) -> list[tuple[str, int]]:
    """Explain what the answers are about: every epoch of the networks of which the run has them, the last of others."""
    names, checkpoints = [*chosen.networks, *chosen.techniques], chosen.run.checkpoints
    return [
        (name, epoch)
        for name in names
        for epoch in (
            checkpoints.epochs(name) if name in here.explained_at_every_epoch else [checkpoints.last_epoch(name)]
        )
    ]


def _leaves_components(choice: Choice) -> bool:
    """Whether the components of a run that is trained anew are those of the first one."""
    return bool(choice.training) and choice.training.keys() <= OF_THE_STUDENT
