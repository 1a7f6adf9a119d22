"""What is known of the features behind a run's maps: from people, and on multi-view images by intervention.

A multi-view image can be drawn again without one of its views. What the networks answer then is kept in
`results/view_logits.npz` (`save_view_logits`); from it comes how much each view counts, for every state explained.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from torch import Tensor, nn
from tqdm import tqdm

from kd_lib import _files
from kd_lib.data import Dataset, Split, multiview
from kd_lib.maps import store
from kd_lib.measures import threshold as thresholds
from kd_lib.measures import utilisation as utilisations
from kd_lib.measures import views
from kd_lib.measures.learning import lasting_crossing
from kd_lib.measures.similarity import pearson
from kd_lib.networks import training
from kd_lib.people import features
from kd_lib.people.answers import labels as labels_by_people
from kd_lib.study import reading
from kd_lib.study.run import Run

ENSEMBLE = "ensemble"


def known(run: Run) -> bool:
    """Whether views can be taken out of the run's images."""
    return run.parameters["data_set"] == "multiview"


def without_each_view(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, Split]:
    """Probe images drawn again, each time without one of the views that they show.

    Returns
    -------
    rows, view : ndarray of int64, shape (R,)
        Which probe image, and which view it lacks: view v of class c is c * V + v.
    images : Split
        R images.
    """
    shown = dataset.probe.views
    rows, classes, number = shown.present.nonzero(as_tuple=True)
    split = dataset.probe.select(rows)
    changed = Split(split.views.without(classes, number), split.labels, split.index)
    return rows.numpy(), (classes * shown.present.shape[2] + number).numpy(), changed


def save_view_logits(
    run: Run, dataset: Dataset, states: Sequence[tuple[str, int]], load: Callable[[str, int], nn.Module]
) -> None:
    """Keep what every state answers to the probe images without one of their views.

    Parameters
    ----------
    run : Run
    dataset : Dataset
        Of the run.
    states : sequence of (str, int)
        Name of the network and epoch.
    load : callable
        Gives the network of a state.
    """
    rows, view, images = without_each_view(dataset)
    answers = {"row": rows, "view": view}
    for name, epoch in tqdm(states, desc="views removed", unit="state", mininterval=1, delay=1):
        answers[f"{name}/{epoch}"] = training.predict(load(name, epoch), dataset, images).numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **answers)
    _files.write_bytes(run.results / "view_logits.npz", buffer.getvalue())


class Importances:
    """How much each view of each probe image counts for each class, state by state.

    Parameters
    ----------
    run : Run
        A run of multi-view images.

    Raises
    ------
    FileNotFoundError
        If the answers without views are not stored.
    """

    def __init__(self, run: Run):
        path = run.results / "view_logits.npz"
        if (content := _files.read_bytes(path)) is None:
            raise FileNotFoundError(f"{path} is missing: run generate_saliency_maps first")
        self._run, self._answers = run, np.load(io.BytesIO(content), allow_pickle=False)
        self._row, self._view = self._answers["row"], self._answers["view"]

    def of(self, name: str, epoch: int | None = None) -> np.ndarray:
        """Give the importance (N, K, K * V), in logits, of view v of class c at c * V + v; 0 where an image lacks it.

        The last epoch by default. The ensemble's is the mean of its components', exactly, where it averages logits.
        """
        if name == ENSEMBLE:
            return np.mean([self.of(member, epoch) for member in reading.components(self._run)], axis=0)
        epoch = self._run.checkpoints.last_epoch(name) if epoch is None else epoch
        clean = store.MapStore(self._run.occlusion).logits(name, epoch)[:, 0]
        count = len(multiview.view_names(0)) * clean.shape[1]
        without = np.repeat(clean[..., None], count, axis=-1)
        without[self._row, :, self._view] = self._answers[f"{name}/{epoch}"]
        return views.importance(clean, without)


def _names(run: Run) -> list[str]:
    """Networks whose use of views is known, the ensemble among them where it averages logits."""
    averaged = len(reading.components(run)) > 1 and run.parameters["ensemble_output"] == "logits"
    return reading.networks(run) + ([ENSEMBLE] if averaged else [])


def same_views(run: Run, pairs: pd.DataFrame, *, view_share: float) -> np.ndarray:
    """Whether the two networks of each pair use the same views of the image to the same effect on the class.

    Parameters
    ----------
    run : Run
        A run of multi-view images.
    pairs : DataFrame
        Columns model_a, model_b, image, target.
    view_share : float
        See `views.used`.

    Returns
    -------
    ndarray of bool, one a row
    """
    importances, used = Importances(run), {}
    same = np.empty(len(pairs), dtype=bool)
    for (a, b), rows in pairs.groupby(["model_a", "model_b"]).indices.items():
        for name in {a, b} - used.keys():
            used[name] = views.used(importances.of(name), share=view_share)
        at = (pairs["image"].to_numpy()[rows], pairs["target"].to_numpy()[rows])
        same[rows] = thresholds.view_labels(used[a], used[b])[at]
    return same


def labelled_pairs(run: Run, pairs: pd.DataFrame, *, view_share: float) -> tuple[pd.DataFrame | None, str]:
    """Those pairs of maps that somebody or something has labelled, with a column `same`, and who or what it was.

    People's labels come first (`people.labels`), then on multi-view images the views that the networks use;
    without either, or where no two maps can be compared, the frame is None.
    """
    said = labels_by_people(reading.annotations(run))
    if len(said.pairs):
        return thresholds.merge_labels(pairs, said.pairs), str(said)
    published = f"the published T_c = {thresholds.PUBLISHED} is used"
    if not known(run):
        return None, f"none; {published}"
    if pairs["pearson"].isna().all():
        return None, f"none, no two maps can be compared (one network, or maps that are constant or NaN); {published}"
    found = pairs.assign(same=same_views(run, pairs, view_share=view_share)).dropna(subset=["pearson", "cosine"])
    return found, "no people; ground truth of the multi-view images (the views used, by intervention)"


def utilisation(run: Run, names: list[str]) -> tuple[dict[str, pd.DataFrame], str]:
    """Utilisation (models by features) of each class for which it is known, and where it is known from."""
    if ticked := features.read_tables(run.annotations):
        return {table: utilisations.utilisation(*both) for table, both in ticked.items()}, "ticked by people"
    if not known(run):
        return {}, "none (no tables in annotations/)"
    shown, true = reading.load_data(run).probe.views, reading.labels(run)
    masks, present = shown.masks().numpy(), shown.present.numpy()
    found = {}
    for k, class_name in enumerate(run.entry("class_names")):
        own = np.flatnonzero(true == k)
        marked = {
            name: views.views_shown(reading.maps(run, name)[own, k], masks[own, k], present[own, k]) for name in names
        }
        titles = [f"{class_name} {view}" for view in multiview.view_names(k)]
        found[class_name] = utilisations.utilisation(*views.view_tables(marked, present[own, k], names=titles))
    return found, "views of the multi-view images that the maps show"


def view_use(run: Run, *, view_share: float) -> pd.DataFrame:
    """How much the views of an image's own class matter to the networks, and whether their maps say so.

    Returns
    -------
    DataFrame
        A row a network and image whose own class's views it uses: network, image, present (views of the class in the
        image), used (of these, how many the network uses for the class), importance (their mean, in logits), agreement
        (share of the views present for which the map shows what is used), and hit, mass, area of `views.pointing`.
        The ensemble is among the networks where it averages logits.
    """
    probe, true, importances = reading.load_data(run).probe, reading.labels(run), Importances(run)
    at = np.arange(len(true)), true
    own_present, masks = probe.views.present.numpy()[at], probe.views.masks().numpy()
    shape, every = probe.views.present.shape[1:], masks.reshape(len(true), -1, *masks.shape[3:])
    frames = []
    for name in _names(run):
        importance = importances.of(name)[at]
        used = views.used(importance[:, None], share=view_share)[:, 0] > 0
        own, own_used = (a.reshape(len(true), *shape)[at] for a in (importance, used))
        maps = _maps(run, name)[at]
        shown = views.views_shown(maps, masks[at], own_present)
        count = own_present.sum(1)
        frame = pd.DataFrame(
            {
                "network": name,
                "image": at[0],
                "present": count,
                "used": (own_used & own_present).sum(1),
                "importance": (own * own_present).sum(1) / count,
                "agreement": ((own_used == shown) & own_present).sum(1) / count,
            }
        )
        frames.append(frame.merge(views.pointing(maps, every, used), on="image", how="left"))
    return pd.concat(frames, ignore_index=True)


def _maps(run: Run, name: str) -> np.ndarray:
    """Read the final maps (N, K, H, W) of a network or of the ensemble."""
    if name != ENSEMBLE:
        return reading.maps(run, name)
    return np.mean([reading.maps(run, member) for member in reading.components(run)], axis=0)


def single_view_answers(run: Run, dataset: Dataset, *, device: str = "auto") -> pd.DataFrame:
    """Whether the networks know test images that show a single view of their class.

    Allen-Zhu & Li's claim is about these: a network that has not learnt a view fails on them. Takes a forward pass.

    Returns
    -------
    DataFrame
        A row a network and image: network, image (position in the source), class (its number), view, right.
    """
    split = dataset.test.select(dataset.test.views.single)
    own = split.views.present[np.arange(len(split)), split.labels]
    finals = {name: reading.network(run, name, device=device) for name in reading.networks(run)}
    if (together := reading.ensemble(run, device=device)) is not None:
        finals[ENSEMBLE] = together
    frames = []
    for name, model in finals.items():
        columns = {"image": split.index, "class": split.labels, "view": own.int().argmax(1)}
        right = training.predict(model, dataset, split).argmax(1) == split.labels
        frames.append(pd.DataFrame({k: v.numpy() for k, v in columns.items()} | {"right": right}).assign(network=name))
    return pd.concat(frames, ignore_index=True)[["network", "image", "class", "view", "right"]]


def settling(run: Run, threshold: float, *, view_share: float) -> pd.DataFrame:
    """When a network's use of an image's views settles, and when its map of the image does.

    Parameters
    ----------
    run : Run
        A run of multi-view images.
    threshold : float
        T_c, which a map's similarity to the final one must reach for good.
    view_share : float
        See `views.used`.

    Returns
    -------
    DataFrame
        A row an image (explained for its own class) and network that is explained at every epoch: model, image, map
        and use (epochs), see `learning.lasting_crossing` and `views.settled`.
    """
    true, importances, frames = reading.labels(run), Importances(run), []
    at = np.arange(len(true)), true
    for name in reading.explained_at_every_epoch(run):
        epochs, final = run.checkpoints.epochs(name), reading.maps(run, name)[at]
        similarity = np.stack([pearson(reading.maps(run, name, epoch)[at], final) for epoch in epochs])
        used = np.stack([_used_of(importances.of(name, epoch)[at], view_share) for epoch in epochs])
        columns = {"image": at[0], "map": lasting_crossing(similarity, threshold), "use": views.settled(used)}
        frames.append(pd.DataFrame(columns).assign(model=name))
    columns = ["model", "image", "map", "use"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _used_of(importance: ArrayLike | Tensor, view_share: float) -> np.ndarray:
    """Which views (N, V) are used, by importance (N, V)."""
    return views.used(np.asarray(importance)[:, None], share=view_share)[:, 0]
