"""The truth about drawn images, by intervention: which views networks use, and whether their maps and T_c say so.

A multi-view image can be drawn again without one of its views. What the networks answer then is kept in
`results/view_logits.npz` (`remove_views`); from it comes how much each view counts, for every state explained.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm
from upath import UPath

from kd_lib import _files
from kd_lib.data import Dataset, Split, multiview
from kd_lib.measures import views
from kd_lib.measures.learning import lasting_crossing
from kd_lib.measures.threshold import view_labels
from kd_lib.measures.utilisation import utilisation
from kd_lib.networks import training
from kd_lib.study.reading import ENSEMBLE, Study
from kd_lib.study.run import Run

SETTLING = ("model", "image", "map", "use")


def without_each_view(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, Split]:
    """Probe images drawn again, each time without one of the views that they show.

    Gives int64 (R,) twice, which probe image, and which view it lacks: view v of class c is c * V + v; and the R
    images.
    """
    shown = dataset.probe.views
    rows, classes, number = shown.present.nonzero(as_tuple=True)
    split = dataset.probe.select(rows)
    changed = Split(split.views.without(classes, number), split.labels, split.index)
    return rows.numpy(), (classes * shown.present.shape[2] + number).numpy(), changed


def kept(run: Run) -> Path | UPath:
    """Where it is kept what networks answer to images without a view."""
    return run.results / "view_logits.npz"


def remove_views(here: Study, states: Sequence[tuple[str, int]], *, device: str = "auto") -> None:
    """Keep what every state, a network's name and epoch, answers to the probe images without one of their views."""
    rows, view, images = without_each_view(here.dataset)
    answers = {"row": rows, "view": view}
    for name, epoch in tqdm(states, desc="views removed", unit="state", mininterval=1, delay=1):
        network = here.network(name, epoch, device=device)
        answers[f"{name}/{epoch}"] = training.predict(network, here.dataset, images).numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **answers)
    _files.write_bytes(kept(here.run), buffer.getvalue())


class Importances:
    """How much each view of each probe image counts for each class, state by state.

    `here` is of drawn images; a FileNotFoundError if the answers without views are not stored, a ValueError if damaged.
    """

    def __init__(self, here: Study):
        path = kept(here.run)
        if (content := _files.read_bytes(path)) is None:
            raise FileNotFoundError(f"{path} is missing: run generate_saliency_maps first")
        try:
            answers = dict(np.load(io.BytesIO(content), allow_pickle=False))
            self._here, self._answers, self._row, self._view = here, answers, answers["row"], answers["view"]
        except Exception as error:  # whatever a damaged archive makes of its reader
            raise ValueError(f"{path} is damaged ({error}): run generate_saliency_maps again") from None

    def of(self, name: str, epoch: int | None = None) -> np.ndarray:
        """Give the importance (N, K, K * V), in logits, of view v of class c at c * V + v; 0 where an image lacks it.

        The last epoch by default. The ensemble's is the mean of its components', exactly, where it averages logits.
        """
        if name == ENSEMBLE:
            return np.mean([self.of(member, epoch) for member in self._here.components], axis=0)
        epoch = self._here.run.checkpoints.last_epoch(name) if epoch is None else epoch
        clean = self._here.clean(name, epoch)
        count = len(multiview.view_names(0)) * clean.shape[1]
        without = np.repeat(clean[..., None], count, axis=-1)
        without[self._row, :, self._view] = self._answers[f"{name}/{epoch}"]
        return views.importance(clean, without)


def networks(here: Study) -> list[str]:
    """Networks whose use of views is known, the ensemble among them where it averages logits."""
    averaged = here.has_ensemble and here.parameters["ensemble_output"] == "logits"
    return here.networks + [ENSEMBLE] * averaged


def same_views(here: Study, pairs: pd.DataFrame, *, view_share: float, by_size: bool = False) -> np.ndarray:
    """Whether the two networks of each pair use the same views of the image to the same effect on the class.

    `pairs` has the columns model_a, model_b, image, target, of drawn images; for `view_share` see
    `measures.views.used`, or, `by_size`, `views.used_by_size`. Gives bool, one a row.
    """
    importances, used = Importances(here), {}
    same = np.empty(len(pairs), dtype=bool)
    for (a, b), rows in pairs.groupby(["model_a", "model_b"]).indices.items():
        for name in {a, b} - used.keys():
            of = importances.of(name)
            sizes = {"clean": here.clean(name)} if by_size else {}
            used[name] = (views.used_by_size if by_size else views.used)(of, **sizes, share=view_share)
        at = (pairs["image"].to_numpy()[rows], pairs["target"].to_numpy()[rows])
        same[rows] = view_labels(used[a], used[b])[at]
    return same


def views_shown(here: Study, names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Utilisation (networks by views) of each class: the views of drawn images that the networks' maps show."""
    drawn, true = here.dataset.probe.views, here.labels
    masks, present, found = drawn.masks().numpy(), drawn.present.numpy(), {}
    for k, class_name in enumerate(here.class_names):
        own = np.flatnonzero(true == k)
        marked = {n: views.views_shown(here.maps(n)[own, k], masks[own, k], present[own, k]) for n in names}
        titles = [f"{class_name} {view}" for view in multiview.view_names(k)]
        found[class_name] = utilisation(*views.view_tables(marked, present[own, k], names=titles))
    return found


def view_use(here: Study, *, view_share: float) -> pd.DataFrame:
    """How much the views of an image's own class matter to the networks, and whether their maps say so.

    A row a network and image whose own class's views it uses: network, image, present (views of the class in the
    image), used (of these, how many the network uses for the class), importance (their mean, in logits), agreement
    (share of the views present for which the map shows what is used), hit, mass, area and any view of `views.pointing`,
    and untrained: hit of the map before training, of the same views, where that is stored.
    """
    probe, true, importances = here.dataset.probe, here.labels, Importances(here)
    at = np.arange(len(true)), true
    own_present, masks = probe.views.present.numpy()[at], probe.views.masks().numpy()
    shape, every = probe.views.present.shape[1:], masks.reshape(len(true), -1, *masks.shape[3:])
    count, frames = own_present.sum(1), []
    for name in networks(here):
        importance, maps = importances.of(name)[at], here.maps(name)[at]
        used = views.used(importance[:, None], share=view_share)[:, 0] > 0
        own, own_used = (a.reshape(len(true), *shape)[at] for a in (importance, used))
        shown = views.views_shown(maps, masks[at], own_present)
        columns = {
            "network": name,
            "image": at[0],
            "present": count,
            "used": (own_used & own_present).sum(1),
            "importance": (own * own_present).sum(1) / count,
            "agreement": ((own_used == shown) & own_present).sum(1) / count,
        }
        points = views.pointing(maps, every, used)
        if name in here.explained_at_every_epoch:
            before = views.pointing(here.maps(name, 0)[at], every, used)[["image", "hit"]]
            points = points.merge(before.rename(columns={"hit": "untrained"}), on="image", how="left")
        frames.append(pd.DataFrame(columns).merge(points, on="image", how="left"))
    return pd.concat(frames, ignore_index=True)


def own_views_used(here: Study, names: Sequence[str], *, view_share: float) -> pd.DataFrame:
    """Which views of its own class networks use in a probe image, for that class; see `measures.views.used`.

    A row a network, image and view that the image shows: network, image, class (its number), view, used (bool).
    Networks some of whose importances are not finite are left out.
    """
    true, importances, frames = here.labels, Importances(here), []
    present = here.dataset.probe.views.present.numpy()
    image, view = present[np.arange(len(true)), true].nonzero()
    columns = {"image": image, "class": true[image], "view": view}
    for name in names:
        importance = importances.of(name)[np.arange(len(true)), true]
        if np.isfinite(importance).all():
            used = views.used(importance[:, None], share=view_share)[:, 0].reshape(len(true), *present.shape[1:]) > 0
            frames.append(pd.DataFrame(columns | {"used": used[image, true[image], view]}).assign(network=name))
    wanted = ["network", *columns, "used"]
    return pd.concat(frames, ignore_index=True)[wanted] if frames else pd.DataFrame(columns=wanted)


def single_view_answers(here: Study, *, device: str = "auto") -> pd.DataFrame:
    """Whether the networks know test images that show a single view of their class.

    Allen-Zhu & Li's claim is about these: a network that has not learnt a view fails on them. A row a network and
    image: network, image (position in the source), class (its number), view, right.
    """
    test = here.dataset.test
    single = test.views.single
    split, frames = test.select(single), []
    for name in here.with_ensemble:
        columns = {"image": split.index, "class": split.labels, "view": split.views.own.int().argmax(1)}
        right = here.answers(name, device=device)[single].argmax(1) == split.labels
        frames.append(pd.DataFrame({k: v.numpy() for k, v in columns.items()} | {"right": right}).assign(network=name))
    return pd.concat(frames, ignore_index=True)[["network", "image", "class", "view", "right"]]


def settling(here: Study, *, view_share: float) -> pd.DataFrame:
    """When a network's use of an image's views settles, and when its map of the image does.

    A map settles when its similarity to the final one reaches T_c for good; for `view_share` see `measures.views.used`.
    A row an image (explained for its own class) and network that is explained at every epoch: model, image, map and use
    (epochs), see `learning.lasting_crossing` and `views.settled`.
    """
    true, importances, frames = here.labels, Importances(here), []
    at = np.arange(len(true)), true
    for name in here.explained_at_every_epoch:
        epochs = here.run.checkpoints.epochs(name)
        similarity = np.stack([here.similarity_to_final(name, epoch)[at] for epoch in epochs])
        every = [views.used(importances.of(name, epoch)[at][:, None], share=view_share)[:, 0] for epoch in epochs]
        columns = {"image": at[0], "map": lasting_crossing(similarity, here.t_c), "use": views.settled(np.stack(every))}
        frames.append(pd.DataFrame(columns).assign(model=name))
    return pd.concat(frames, ignore_index=True)[list(SETTLING)] if frames else pd.DataFrame(columns=list(SETTLING))
