"""Carry out parts of a run again, with something chosen otherwise.

A choice is spelled as the parameters that it changes, ``patch=2`` or ``optimiser=adam max_lr=0.005``:

- ``output`` (logits, probs, log-probs) is what the maps explain: the stored occluded logits will do;
- ``patch``, ``stride``, ``baseline``, ``precision`` of the occlusion: the networks are explained again, into
  ``choices/NAME/occlusion.zarr`` of the run's folder;
- any parameter by which the networks were trained: they are trained again, as the run ``choices/NAME``.

Whatever is there already is kept, so a call that was killed goes on where it stopped.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from upath import UPath

from kd_lib import _files, data
from kd_lib.maps import fill, occlusion, store
from kd_lib.networks import training
from kd_lib.networks.architectures import component_names
from kd_lib.study import reading, truth
from kd_lib.study import training as trainings
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
        What the maps explain, as `output`, see `occlusion.saliency_maps`; empty leaves it as it is.
    maps, training : dict
        Parameters of the occlusion and of the training that change.
    """

    name: str
    output: dict[str, str] = field(default_factory=dict)
    maps: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant(Run):
    """A run with its networks, whose maps are made otherwise.

    Attributes
    ----------
    store_of : str
        Name of the choice whose store of occluded logits is read; empty: the run's own.
    output : str or None
        What the maps explain; None leaves it as it is.
    """

    store_of: str = ""
    output: str | None = None

    @property
    def occlusion(self) -> Path | UPath:
        """The zarr group of occluded logits."""
        return self.folder / FOLDER / self.store_of / "occlusion.zarr" if self.store_of else super().occlusion

    @property
    def parameters(self) -> dict:
        """The run's parameters, `output` among them where it is chosen."""
        return super().parameters | ({OUTPUT: self.output} if self.output else {})


def read(names: Sequence[str], run: Run) -> list[Choice]:
    """Understand how choices are spelled, before anything is computed.

    Parameters
    ----------
    names : sequence of str
        Each ``parameter=value``, or several of them with blanks between; values are read as YAML.
    run : Run
        Which has made its own choices.

    Raises
    ------
    ValueError
        If one is not of that form, or this run has no such parameter, or the value is of no use; names the choice.
    """
    return [_read(name, run) for name in dict.fromkeys(names)]


def _read(name: str, run: Run) -> Choice:
    settings, kept = run.parameters, store.MapStore(run.occlusion)
    regime = {entry.name for entry in fields(training.Regime)}
    trainable = set(settings) - {"data_set"} if regime <= set(settings) else set()
    choice = Choice(name)
    for pair in str(name).split() or [""]:
        key, _, text = pair.partition("=")
        if not text or "/" in pair:
            raise ValueError(f"choice {name!r}: expected parameter=value, such as 'patch=2', or several with blanks")
        known = [OUTPUT, *store.SETTINGS, *sorted(trainable.difference(store.SETTINGS))]
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"choice {name!r}: {key!r} cannot be chosen{hint}; what can is {', '.join(known)}")
        part = choice.output if key == OUTPUT else choice.maps if key in store.SETTINGS else choice.training
        part[key] = yaml.safe_load(text)
    try:
        _check(choice, settings, kept)
    except (ValueError, TypeError) as error:
        raise ValueError(f"choice {name!r}: {error}") from None
    return choice


def _check(choice: Choice, settings: Mapping, kept: store.MapStore) -> None:
    """Refuse values of no use; what only training finds out is left to it."""
    if (output := choice.output.get(OUTPUT, "probs")) not in occlusion.OUTPUTS:
        raise ValueError(f"unknown output {output!r}: expected {', '.join(map(repr, occlusion.OUTPUTS))}")
    if output == "logits" and settings["ensemble_output"] == "probs":
        raise ValueError("an ensemble that averages probabilities has no logits: expected 'probs' or 'log-probs'")
    wanted = kept.settings | choice.maps
    occlusion.windows(kept.image_size, wanted["patch"], wanted["stride"])
    occlusion.baseline_images(wanted["baseline"], torch.zeros(1, np.size(wanted["baseline"]), *kept.image_size))
    for name, value in choice.training.items():
        if type(value) is not type(settings[name]) and (type(value), type(settings[name])) != (int, float):
            raise TypeError(f"{name} is {value!r}: expected the like of {settings[name]!r}")
    if choice.training:
        _regime(settings | choice.training)


def _regime(settings: Mapping) -> training.Regime:
    return training.Regime(**{entry.name: settings[entry.name] for entry in fields(training.Regime)})


def carry_out(choice: Choice, run: Run, *, device: str = "auto", client: "Client | None" = None) -> Run:
    """Compute what a choice still lacks.

    Parameters
    ----------
    choice : Choice
        What `read` made of it.
    run : Run
        A run that is trained and explained. Nothing of it is changed.
    device : {'auto', 'cpu', 'cuda'}
    client : distributed.Client, optional
        Whose workers train and explain, see `cluster.connect`.

    Returns
    -------
    Run
        To be read in the place of `run`.
    """
    if not choice.training:
        chosen = Variant(run.folder, store_of=choice.name if choice.maps else "", output=choice.output.get(OUTPUT))
        if choice.maps:
            _explain(chosen, run, choice, reading.load_data(run), device=device, client=client)
        return chosen
    other = Run(run.folder / FOLDER / choice.name)
    settings = run.parameters | choice.training
    dataset = data.load(settings["data_set"], root=run.entry("root"), **reading.data_settings(settings))
    _train(other, run, choice, settings, dataset, device=device, client=client)
    _explain(other, run, choice, dataset, device=device, client=client)
    return Variant(other.folder, output=choice.output.get(OUTPUT))


def _train(other: Run, run: Run, choice: Choice, settings: dict, dataset: data.Dataset, *, device: str, client) -> None:
    """Train components and the distilled network as `train_models` does, without controls."""
    names, class_names = component_names(settings["components"]), list(dataset.class_names)
    other.claim(settings | {"controls": False}, dataset_fingerprint=dataset.fingerprint)
    other.record("class_names", class_names)
    other.record("root", run.entry("root"))
    other.record("networks", reading.recipes(names, settings["arch"], len(class_names)))
    if _leaves_components(choice):
        for name in names:
            _copy(run.checkpoints.folder / name, other.checkpoints.folder / name)
    options = {name: settings[name] for name in ("seed", "temperature", "hard_weight")}
    trainings.train_all(other, dataset, _regime(settings), client=client, device=device, **options)


def _copy(source: Path | UPath, target: Path | UPath) -> None:
    """Copy the files of a folder that are not there yet; in the order of their names, which puts `resume.pt` last."""
    for name in _files.names_in(source):
        if not _files.is_there(target / name):
            _files.write_bytes(target / name, _files.read_bytes(source / name))


def _explain(chosen: Run, run: Run, choice: Choice, dataset: data.Dataset, *, device: str, client) -> None:
    """Fill the store of a choice, as `generate_saliency_maps` does, for the networks that the answers are about."""
    kept, probe = store.MapStore(run.occlusion), dataset.probe
    at_every_epoch = reading.explained_at_every_epoch(run)
    stored = chosen.checkpoints
    finals = [(name, stored.last_epoch(name)) for name in [*reading.networks(chosen), *reading.techniques(chosen)]]
    states = [(name, e) for name, last in finals for e in (stored.epochs(name) if name in at_every_epoch else [last])]
    explained = store.MapStore.create(
        chosen.occlusion,
        states=states,
        labels=probe.labels,
        index=probe.index,
        class_names=dataset.class_names,
        image_size=tuple(probe.images.shape[-2:]),
        **kept.settings | choice.maps,
    )
    if _leaves_components(choice) and not choice.maps:
        _take_components(explained, kept, run)
    load = partial(reading.network, chosen, device=device)
    fill.fill(explained, load, probe.images, normalise=dataset.normaliser, client=client)
    if choice.training and truth.known(chosen) and not _files.is_there(chosen.results / "view_logits.npz"):
        truth.save_view_logits(chosen, dataset, finals, load)


def _leaves_components(choice: Choice) -> bool:
    """Whether the components of a run that is trained anew are those of the first one."""
    return bool(choice.training) and choice.training.keys() <= OF_THE_STUDENT


def _take_components(explained: store.MapStore, kept: store.MapStore, run: Run) -> None:
    """Copy the occluded logits of components that are the same in both runs."""
    states, components = explained.states, reading.components(run)
    for state, chunks in groupby(explained.missing(), key=itemgetter(0)):
        if states[state][0] in components:
            logits = kept.logits(*states[state])
            for _, block in chunks:
                explained.write(state, block, logits[explained.rows(block)])
