"""From parameters to a run: networks, trained, and their occluded logits.

The notebooks call it, and so does whatever carries out a part of a study again: another choice, a slice to be verified,
a test's small run. Whatever is there already is kept.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from itertools import groupby, product
from operator import itemgetter
from typing import TYPE_CHECKING

import pandas as pd

from kd_lib import _files, _workers
from kd_lib.data import Dataset, Split
from kd_lib.maps.fill import fill
from kd_lib.maps.occlusion import pick_precision, windows
from kd_lib.maps.store import SETTINGS, MapStore
from kd_lib.networks import architectures, given, techniques
from kd_lib.networks.architectures import CONSTANT_RATE
from kd_lib.networks.regime import Regime
from kd_lib.networks.training import pick_device
from kd_lib.study import training
from kd_lib.study.reading import IMAGES, Study
from kd_lib.study.run import Run

if TYPE_CHECKING:
    from distributed import Client

INDIFFERENT = ("run", "root", "data_title", "models", "device", "executor", "recompute")  # to what a run computes


def regime(parameters: Mapping) -> Regime:
    """How networks are trained, of the parameters of `train_models`."""
    return Regime(**{entry.name: parameters[entry.name] for entry in fields(Regime) if entry.name in parameters})


def recipes(parameters: Mapping, classes: int) -> dict[str, dict]:
    """How to build what `train_models` trains: components, students, controls, and those of each technique."""
    names = architectures.component_names(parameters["components"])
    techniques.check_techniques(parameters.get("techniques", ()))
    first, *more = architectures.student_names(parameters.get("students", 1))
    of_role = dict.fromkeys(names, "component") | {first: "distilled"} | dict.fromkeys(more, "student")
    if parameters.get("controls") and len(names) > 1:
        of_role |= dict.fromkeys(architectures.CONTROLS, "control")
    by_technique = parameters.get("techniques", ()), parameters.get("technique_seeds", 1)
    of_role |= dict.fromkeys(architectures.technique_names(*by_technique), "technique")
    arguments = {"arch": parameters["arch"], "num_classes": classes}
    recipe = {"factory": given.BUILD, "arguments": arguments}
    return {name: recipe | {"role": role} for name, role in of_role.items()}


def begin(
    folder: str | Run, parameters: Mapping, dataset: Dataset, *, networks: Mapping[str, dict] | None = None
) -> Study:
    """Make a folder the run of these parameters, and record what belongs to it.

    Parameters
    ----------
    folder : str or Run
    parameters : mapping
        Those of `train_models`. With `models` the networks that this file lists are checked and taken over.
    dataset : Dataset
        What `reading.images` gave.
    networks : mapping, optional
        Recipes of what is to be trained; `recipes` of the parameters by default.

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        If the folder belongs to other parameters or images, see `Run.claim`, or a parameter is of no use.
    """
    run = folder if isinstance(folder, Run) else Run(folder)
    brought = given.read(parameters["models"]) if parameters.get("models") else []
    given.check(brought, dataset)
    given.check_place(brought, run.checkpoints)
    if not brought and networks is None:
        regime(parameters)
        networks = recipes(parameters, len(dataset.class_names))
    run.claim(decisive(parameters, brought), dataset_fingerprint=dataset.fingerprint)
    _files.sweep(run.folder)
    run.record("class_names", list(dataset.class_names))
    for name in ("root", "data_title"):
        run.record(name, parameters.get(name) or None)
    recipes_of = given.take(brought, run.checkpoints) if brought else networks
    run.record("networks", recipes_of)
    if brought:
        run.record("seal", given.seal(recipes_of))
    here = Study(run)
    here.dataset = dataset
    return here


def decisive(parameters: Mapping, brought: Sequence[given.Network] = ()) -> dict:
    """Choose the parameters of `train_models` that decide what a run is.

    With networks that are `brought`, how to train does not matter, but what these are does.
    """
    if not brought:
        return {name: value for name, value in parameters.items() if name not in INDIFFERENT}
    chosen = {name: parameters[name] for name in ("data_set", *IMAGES, "ensemble_output")}
    return chosen | {f"network {name}": digest for name, digest in given.fingerprint(brought).items()}


def train(
    here: Study,
    *,
    executor: "str | Client | None" = "",
    device: str = "auto",
    recompute: bool = False,
    **options,
) -> pd.DataFrame:
    """Train what a run still lacks; of networks that were brought, measure how accurate they are.

    Parameters
    ----------
    here : Study
    executor : str or distributed.Client
        See `_workers.connect`.
    device : {'auto', 'cpu', 'cuda'}
    recompute : bool
        Train anew, whatever is stored.
    **options
        More of `networks.train`, such as `until`.

    Returns
    -------
    DataFrame
        The histories of all networks, see `networks.train`; of brought ones model, epoch and test_accuracy. Kept as the
        table `history`.
    """
    if "arch" not in here.parameters:
        history = training.accuracies(here, device=device)
    else:
        started, how = time.perf_counter(), regime(here.parameters)
        epochs = here.run.checkpoints.epochs
        lacking = recompute or any(how.epochs not in epochs(name) for name in here.recipes)
        with _workers.connect(executor) as client:
            options |= {"device": device, "recompute": recompute}
            history = training.train_all(here, how, client=client, **options)
        if lacking:
            here.run.record("seconds_training", round(time.perf_counter() - started, 1))
    here.keep(history, "history")
    return history


def states(here: Study, every_epoch: int | None) -> list[tuple[str, int]]:
    """Which (model, epoch) to explain: all epochs of the first `every_epoch` components, the last of all networks.

    None takes all components. Where there are none, the other networks take their place.

    Raises
    ------
    ValueError
        If `every_epoch` is negative or larger than the number of components.
    """
    names, checkpoints = here.components or here.others, here.run.checkpoints
    every_epoch = len(names) if every_epoch is None else every_epoch
    if not 0 <= every_epoch <= len(names):
        raise ValueError(f"every_epoch={every_epoch}: expected 0 to {len(names)}, the number of components")
    slow = [CONSTANT_RATE] if every_epoch and CONSTANT_RATE in here.techniques else []
    whole = [(name, epoch) for name in [*names[:every_epoch], *slow] for epoch in checkpoints.epochs(name)]
    rest = [*here.networks, *here.students[1:], *here.techniques, *here.controls]
    rest = [name for name in rest if name not in [*names[:every_epoch], *slow]]
    return whole + [(name, checkpoints.last_epoch(name)) for name in rest]


def explain(
    here: Study,
    wanted: Sequence[tuple[str, int]],
    settings: Mapping,
    *,
    probe: Split | None = None,
    same: Study | None = None,
    copied: Sequence[str] = (),
    device: str = "auto",
    executor: "str | Client | None" = "",
    progress: bool = True,
) -> MapStore:
    """Fill the map store of a run, or what is left of it.

    Parameters
    ----------
    here : Study
        Whose networks are trained.
    wanted : sequence of (str, int)
        States to explain, see `states`.
    settings : mapping
        patch, stride, baseline and precision of the occlusion; precision may be 'auto'.
    probe : Split, optional
        Images to explain; all probe images by default.
    same : Study, optional
        Another one, of the same images, some of whose networks are the same.
    copied : sequence of str
        These networks: their logits are copied, where it hides all the patches of this one, as it does at a stride of
        which this one's is a multiple.
    device : {'auto', 'cpu', 'cuda'}
    executor : str or distributed.Client
        See `_workers.connect`.
    progress : bool

    Returns
    -------
    MapStore
    """
    started, dataset = time.perf_counter(), here.dataset
    images = probe or dataset.probe
    _files.sweep(here.run.folder)
    settings = {name: settings[name] for name in SETTINGS if name in settings}
    if "precision" in settings:
        settings["precision"] = pick_precision(settings["precision"], pick_device(device))
    store = MapStore.create(
        here.occlusion,
        states=wanted,
        labels=images.labels,
        index=images.index,
        class_names=dataset.class_names,
        image_size=tuple(images.images.shape[-2:]),
        weights={state: here.run.checkpoints.digest(*state) for state in wanted},
        **settings,
    )
    if own := here.occlusion == here.run.occlusion:  # not a choice's store
        here.run.record("occlusion", {name: store.settings[name] for name in SETTINGS})
    if same is not None:
        _copy(store, same, copied)
    given.check_seal(here.recipes, here.seal, here.run.folder)
    load = partial(given.restore, here.run.checkpoints, here.recipes, device=device)
    with _workers.connect(executor) as client:
        options = {"normalise": dataset.normaliser, "client": client, "progress": progress}
        blocks = fill(store, load, images.images, **options)
    if blocks and own:
        here.run.record("seconds_occlusion", round(time.perf_counter() - started, 1))
    here.store = store
    return store


def _copy(store: MapStore, same: Study, names: Sequence[str]) -> None:
    """Copy the occluded logits of networks that are the same in both runs."""
    if not names:
        return
    there, size = same.store, store.image_size
    if any(store.settings[name] != there.settings[name] for name in SETTINGS if name != "stride"):
        return
    wanted, stored = (
        list(product(*windows(size, own.settings["patch"], own.settings["stride"]))) for own in (store, there)
    )
    if not set(wanted) <= set(stored):
        return
    place = {window: 1 + number for number, window in enumerate(stored)}
    taken = [0, *(place[window] for window in wanted)]
    for state, blocks in groupby(store.missing(), key=itemgetter(0)):
        if store.states[state][0] in names and store.states[state] in there.states:
            logits = there.logits(*store.states[state])
            for _, block in blocks:
                store.write(state, block, logits[store.rows(block)][:, taken])
