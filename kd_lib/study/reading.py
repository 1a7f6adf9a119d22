"""An opened run: all that the answers read of it, each thing once."""

import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn
from upath import UPath

from kd_lib import _files, data
from kd_lib._workers import in_threads
from kd_lib.data import Dataset
from kd_lib.maps.store import MapStore, open_logits
from kd_lib.measures import transfer
from kd_lib.measures.similarity import pearson
from kd_lib.measures.threshold import PUBLISHED
from kd_lib.networks import architectures, given, training
from kd_lib.networks.architectures import technique_of
from kd_lib.people.annotations import Annotations
from kd_lib.study.parameters import REPLACE
from kd_lib.study.run import Run

ENSEMBLE = "ensemble"
MEMORY = 2 << 30  # bytes of outputs and maps that are kept; what was asked for longest ago goes first
IMAGES = ("train_size", "test_size", "probe_per_class", "image_size", "mean", "std", "single_view", "seed")
TARGETS = {True: "on target", False: "off target"}
NOT_IN_TABLES = ("run", "threshold", "example", "annotator", "annotated_class", "pairs_to_label", "device", "executor")


def open(run: str | Path | Run, threshold: float | None = None, *, chosen: Mapping[str, Any] | None = None) -> "Study":
    """Open a run, to be read.

    Parameters
    ----------
    run : str, Path or Run
        Its folder, or the URL of one in an object store, see `Run`.
    threshold : float, optional
        T_c in [-1, 1]; by default the one that `threshold_determination` settled on.
    chosen : mapping, optional
        Parameters of the notebook that opens it (`parameters.chosen`), which its tables carry.

    Returns
    -------
    Study

    Raises
    ------
    FileNotFoundError
        If nothing was begun in the folder.
    """
    return Study(run, threshold=threshold, chosen=chosen)


def images(parameters: Mapping, root: str | None = None) -> Dataset:
    """Load the images that the parameters of `train_models` ask for; `root`, where they are, may be one of them."""
    chosen = {name: parameters[name] for name in IMAGES}
    chosen |= {name: chosen[name] or None for name in ("train_size", "test_size")}
    return data.load(parameters["data_set"], root=root or parameters.get("root") or None, **chosen)


class Study:
    """A run, opened: settings, images, networks by role, their outputs and maps, and the threshold in use.

    `run.json` and the map store are read once. Outputs and maps of final networks stay in memory, up to `MEMORY`. The
    ensemble is a name like any network's: ``here.maps("ensemble")``, ``here.maps("ensemble", without="a")`` for the one
    that leaves a component out, ``here.maps("ensemble", of=here.halves[0])`` for that of some components.

    Parameters
    ----------
    run, threshold, chosen
        See `open`.
    occlusion : Path or UPath, optional
        Another map store than the run's own, made under another choice.
    output : {'logits', 'centred', 'probs', 'log-probs'}
        What maps explain, see `maps.saliency_maps`; 'logits' takes the outputs in the unit that the ensemble averages.

    Attributes
    ----------
    run : Run
    parameters : dict
        Those that decide what the run computes.
    class_names : list of str
    seal : str
        Of who has said that the code named in `recipes` may run, see `given.seal`.
    recipes, roles : dict
        How each network is built; its role: 'component', 'distilled', 'student', 'other', 'control' or 'technique'.
    components, others, controls, techniques : list of str
        Names of the networks of a role: members of the ensemble; networks that are neither; those that only say what a
        similarity means (`networks.CONTROLS`); those trained without the ensemble, each by the technique of its name.
    distilled : str or None
    students : list of str
        The distilled network, and others that the same ensemble taught from other seeds.
    networks, with_ensemble : list of str
        What the study is about: components, then the distilled network, then others; and 'ensemble', if there is one.
    t_c, source : float, str
        The threshold in use, and where it comes from.
    has_ensemble, drawn : bool
        Whether there are two components; whether views can be taken out of the images.
    """

    def __init__(
        self,
        run: str | Path | Run,
        threshold: float | None = None,
        occlusion: Path | UPath | None = None,
        output: str = "logits",
        chosen: Mapping[str, Any] | None = None,
    ):
        self.run = run if isinstance(run, Run) else Run(run)
        self._given, self._occlusion, self.output = threshold, occlusion, output
        self._made_with = {name: value for name, value in (chosen or {}).items() if name not in NOT_IN_TABLES}
        entries = self.run.entries()
        self.parameters, self.root = entries["parameters"], entries.get("root")
        self.class_names, self.recipes = entries.get("class_names", []), entries.get("networks", {})
        self._fingerprint, self.seal = entries.get("dataset_fingerprint"), entries.get("seal", "")
        self._memory: OrderedDict = OrderedDict()
        self._lock = threading.Lock()
        self._apart: Path | UPath | None = None  # where tables go that are not the run's

    def __reduce__(self):  # noqa: D105 (workers open it anew)
        return Study, (self.run, self._given, self._occlusion, self.output)

    # ---- networks by role --------------------------------------------------------------------------------------------

    roles = property(lambda self: {name: recipe["role"] for name, recipe in self.recipes.items()})
    components = property(lambda self: self._of_role("component"))
    distilled = property(lambda self: next(iter(self._of_role("distilled")), None))
    students = property(lambda self: [*self._of_role("distilled"), *self._of_role("student")])
    others = property(lambda self: self._of_role("other"))
    controls = property(lambda self: self._of_role("control"))
    techniques = property(lambda self: self._of_role("technique"))
    networks = property(lambda self: [*self.components, *self._of_role("distilled"), *self.others])
    has_ensemble = property(lambda self: len(self.components) > 1)
    with_ensemble = property(lambda self: self.networks + [ENSEMBLE] * self.has_ensemble)
    drawn = property(lambda self: self.parameters["data_set"] == "multiview")

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of every network, which charts tell apart, is its role or its technique."""
        alike = {"student": "distilled"}
        roles = self.roles.items()
        return {name: technique_of(name) if role == "technique" else alike.get(role, role) for name, role in roles}

    @property
    def halves(self) -> tuple[list[str], list[str]]:
        """Components that the first half-taught network learns from, and those of the second."""
        return self.components[: len(self.components) // 2], self.components[len(self.components) // 2 :]

    @property
    def compared(self) -> list[str]:
        """Networks that RQ2 compares, all but the distilled one, unless that leaves fewer than two."""
        names = [*self.components, *self.others]
        return names if len(names) > 1 else self.networks

    def _of_role(self, role: str) -> list[str]:
        return [name for name, own in self.roles.items() if own == role]

    # ---- images and networks -----------------------------------------------------------------------------------------

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, loaded again; a ValueError if the images are not those that the networks were trained on."""
        dataset = images(self.parameters, self.root)
        if dataset.fingerprint != self._fingerprint:
            raise ValueError(
                f"the images of {self.parameters['data_set']!r} are not those that {self.run.folder} was trained on: "
                "put the old ones back, or start another run folder"
            )
        return dataset

    @cached_property
    def annotations(self) -> Annotations:
        """What people were asked about this run, and said."""
        return Annotations(self.run.annotations, self.networks, self.labels, self.class_names, self.drawn)

    def check_image(self, example: int) -> None:
        """Refuse the number of a probe image that there is not, with a ValueError; no image is loaded for it."""
        count = self.parameters["probe_per_class"] * len(self.class_names)
        if not 0 <= example < count:
            raise ValueError(
                f"example={example}: expected the number of a probe image of {self.run.folder}, 0 to {count - 1}"
            )

    def to_ask(self, names: Sequence[str] | None = None) -> tuple[Annotations, np.ndarray, dict[str, np.ndarray]]:
        """Give what annotators are asked about: answers so far, images, and maps of networks (all by default)."""
        images = self.dataset.probe.images.numpy()
        return self.annotations, images, self.maps_of(self.networks if names is None else names)

    def network(self, name: str, epoch: int | None = None, *, device: str = "auto") -> nn.Module:
        """Restore a network, or the ensemble, in evaluation mode, after `epoch` epochs (all of them by default)."""
        if name == ENSEMBLE:
            return self.ensemble_of(self.components, device=device)
        given.check_seal(self.recipes, self.seal, self.run.folder)
        return given.restore(self.run.checkpoints, self.recipes, name, epoch, device=device)

    def ensemble_of(self, names: Iterable[str], *, device: str = "auto") -> architectures.Ensemble:
        """Restore the ensemble of some networks."""
        members = [self.network(name, device=device) for name in names]
        return architectures.Ensemble(members, self.parameters["ensemble_output"])

    def answers(self, name: str, *, device: str = "auto") -> Tensor:
        """Give the outputs (N, K) of a final network, or the ensemble, on the test images (the probe is none)."""
        if name != ENSEMBLE:
            return self._kept(("answers", name), lambda: self._predict(name, device))
        together = torch.stack([self.answers(member, device=device) for member in self.components])
        return (together if self.parameters["ensemble_output"] == "logits" else together.softmax(-1)).mean(0)

    def _predict(self, name: str, device: str) -> Tensor:
        return training.predict(self.network(name, device=device), self.dataset, self.dataset.test)

    # ---- outputs and maps --------------------------------------------------------------------------------------------

    @property
    def occlusion(self) -> Path | UPath:
        """Where the map store is."""
        return self._occlusion or self.run.occlusion

    @cached_property
    def store(self) -> MapStore:
        """The occluded logits of the probe images."""
        return MapStore(self.occlusion)

    @property
    def logits(self) -> xr.DataArray:
        """What the store holds, opened by xarray, see `maps.open_logits`."""
        return open_logits(self.occlusion)

    @property
    def labels(self) -> np.ndarray:
        """True classes (N,) of the probe images."""
        return self.store.labels

    @cached_property
    def explained_at_every_epoch(self) -> list[str]:
        """Networks whose maps of every epoch are stored, of those that have more than one; no technique."""
        epochs = {name: self.run.checkpoints.epochs(name) for name in self.networks}
        return [name for name, own in epochs.items() if len(own) > 1 and self.store.epochs(name) == own]

    def outputs(
        self, name: str, epoch: int | None = None, *, without: str | None = None, of: Sequence[str] | None = None
    ) -> np.ndarray:
        """Occluded outputs of a network, or of an ensemble: the unweighted mean of its members' final ones.

        Parameters
        ----------
        name : str
            A network, or 'ensemble'.
        epoch : int, optional
            Of a network; the last one by default.
        without : str, optional
            A component that the ensemble leaves out.
        of : sequence of str, optional
            Members of the ensemble; all components by default.

        Returns
        -------
        ndarray, float32, shape (N, 1 + W, K)
            Logits, or probabilities where the run's ensemble averages these.
        """
        if name == ENSEMBLE:
            members = tuple(of or self.components)
            total = self._kept(("total", members), lambda: self._total(members))
            rest = total if without is None else total - self.outputs(without)
            return (rest / (len(members) - (without is not None))).astype(np.float32)
        return self._kept(("outputs", name), lambda: self._read(name)) if epoch is None else self._read(name, epoch)

    def maps(
        self, name: str, epoch: int | None = None, *, without: str | None = None, of: Sequence[str] | None = None
    ) -> np.ndarray:
        """Saliency maps (N, K, H, W) of the probe images for every class; parameters as of `outputs`."""

        def derive() -> np.ndarray:
            return self.saliency_maps(self.outputs(name, epoch, without=without, of=of))

        return self._kept(("maps", name, without, tuple(of or ())), derive) if epoch is None else derive()

    def maps_of(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read the maps of several final networks, by name, side by side."""
        return dict(zip(names, in_threads(self.maps, names), strict=True))

    def saliency_maps(self, outputs: np.ndarray) -> np.ndarray:
        """Derive maps (..., K, H, W) of occluded outputs (..., 1 + W, K), of what this study explains of them."""
        if self.output != "logits" and self.parameters["ensemble_output"] == "probs":
            outputs = np.log(np.maximum(outputs, np.finfo(np.float32).tiny))  # logits of the same probabilities
        return self.store.maps(outputs, output=self.output)

    def similarity_to_final(self, name: str, epoch: int) -> np.ndarray:
        """Pearson similarity (N, K) of a network's maps at an epoch to its final ones."""
        return self._kept(("to final", name, epoch), lambda: pearson(self.maps(name, epoch), self.maps(name)))

    def similarity_to_rest(self, name: str, left_out: str) -> np.ndarray:
        """Pearson similarity (N, K) of a network's maps to those of the ensemble that leaves a component out."""

        def derive() -> np.ndarray:
            return pearson(self.maps(name), self.maps(ENSEMBLE, without=left_out))

        return self._kept(("to the rest", name, left_out), derive)

    def clean(self, name: str, epoch: int | None = None) -> np.ndarray:
        """Logits (N, K) of the probe images as they are."""
        return self.store.logits(name, epoch)[:, 0].copy()

    def _read(self, name: str, epoch: int | None = None) -> np.ndarray:
        logits = self.store.logits(name, epoch)
        in_logits = self.parameters["ensemble_output"] == "logits"
        return logits if in_logits else torch.as_tensor(logits).softmax(-1).numpy()

    def _total(self, members: Sequence[str]) -> np.ndarray:
        return sum(own.astype(np.float64) for own in in_threads(self.outputs, members))

    def _kept(self, key: tuple, make: Callable):
        """Give what is in memory under a key, or else is made now."""
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
        value = make()
        with self._lock:
            self._memory[key] = value
            while len(self._memory) > 1 and sum(kept.nbytes for kept in self._memory.values()) > MEMORY:
                self._memory.popitem(last=False)
        return value

    # ---- threshold and tables ----------------------------------------------------------------------------------------

    @cached_property
    def _threshold(self) -> tuple[float, str]:
        if self._given is not None:
            return float(self._given), "given as a parameter"
        used = self.used_threshold
        return float(used["value"]), used["source"]

    t_c = property(lambda self: self._threshold[0])
    source = property(lambda self: self._threshold[1])

    @property
    def used_threshold(self) -> pd.Series:
        """Row of the table of thresholds that `threshold_determination` chose."""
        table = self.run.read_csv("threshold", made_by="threshold_determination")
        return table[table["used"]].iloc[0]

    @property
    def thresholds(self) -> list[float]:
        """Thresholds that a figure over all of them marks, the one in use and the published one."""
        return [self.t_c, PUBLISHED]

    def shares(self, frame: pd.DataFrame, *, by: Sequence[str]) -> pd.DataFrame:
        """Share of maps above T_c by some columns, see `transfer.shares_above`."""
        return transfer.shares_above(frame, self.t_c, by=by)

    def shares_and_means(self, frame: pd.DataFrame, *, by: str = "kind") -> pd.DataFrame:
        """Share of maps above T_c by a column and target, and their mean similarity."""
        means = frame.groupby([by, "target"], sort=False)["pearson"].mean().rename("mean similarity").reset_index()
        return self.shares(frame, by=[by, "target"]).merge(means, on=[by, "target"])

    def named(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Say which class a target is, in a column class, and in target whether it is the image's own."""
        names = frame["target"].map(lambda k: self.class_names[k])
        return frame.assign(**{"class": names}, target=frame["on_target"].map(TARGETS))

    def keep(self, frame: pd.DataFrame, table: str, **made_with) -> pd.DataFrame:
        """Keep a frame, without its index, as `results/TABLE.csv`, and beside it, as JSON, what it was made with.

        The latter: JSON-able parameters (`made_with`) and those of the notebook, and T_c with its source once they are
        known. A table of the run that was made with something else stays, unless all answers are made again, as
        `make report` does: the new one is kept in a folder of `results/` that says what differs. Gives the frame.
        """
        made_with = self._made_with | made_with
        if "_threshold" in self.__dict__:
            made_with = {"T_c": self.t_c, "from": self.source} | made_with
        made_with = json.loads(json.dumps(made_with))
        folder, known = self.run.results, made_with
        if not os.environ.get(REPLACE):
            with suppress(ValueError, AttributeError):  # what cannot be read is written anew
                kept = json.loads(_files.read_bytes(folder / f"{table}.json") or b"")
                known = {name: value for name, value in kept.items() if name != _files.SEAL}
        if differing := _files.differences(known, made_with):
            names = [pair.partition(":")[0] for pair in differing]
            told = (f"{name}={made_with.get(name)}" for name in names if name != "from" or len(names) == 1)
            folder /= re.sub(r"[^\w=.+-]+", "_", " ".join(told))[:100]
            if self._apart != folder:
                print(f"{self.run.results} was made otherwise ({'; '.join(differing)}): tables are kept in {folder}")
            self._apart = folder
        data = self.run.write_csv(frame, table, folder)
        _files.write_json(folder / f"{table}.json", _files.sealed(made_with, data))
        return frame
