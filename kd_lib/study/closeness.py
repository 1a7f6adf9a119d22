"""How close a run's networks come to its ensemble: in maps, in outputs and in features, and with which accuracy."""

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from kd_lib._workers import in_threads
from kd_lib.data import Dataset, Split
from kd_lib.maps import store
from kd_lib.measures import outputs
from kd_lib.measures.beyond import CLOSENESS, MAPS_OFF, MAPS_ON
from kd_lib.measures.similarity import pearson
from kd_lib.measures.transfer import leave_one_out
from kd_lib.networks import architectures
from kd_lib.study import reading
from kd_lib.study.run import Run

COLUMNS = ("kind", "model", "image", *CLOSENESS)
STATES = ("kind", "model", "epoch", "image", "similarity", "accuracy")


def penultimate_features(model: nn.Module, dataset: Dataset, split: Split, *, batch_size: int = 1000) -> Tensor | None:
    """Take what the last linear layer of a network is given, in evaluation mode.

    Parameters
    ----------
    model : nn.Module
        Of any kind. Its last linear layer is the one that runs last; it must give the network's K outputs.
    dataset : Dataset
        Whose mean and standard deviation normalise the images.
    split : Split
        Of N images.
    batch_size : int
        Images per forward pass.

    Returns
    -------
    Tensor (N, D) or None
        float32, on the CPU; None where a network does not end with a linear layer (SqueezeNet ends with a convolution).
    """
    seen, device = {}, next(model.parameters()).device

    def keep(_, given: tuple[Tensor, ...], answer: Tensor) -> None:
        seen["features"], seen["answer"] = given[0], answer

    hooks = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, nn.Linear)]
    found = []
    try:
        with architectures.evaluating(model):
            for images in split.images.split(batch_size):
                logits = model(dataset.normalise(images.to(device)))
                if not seen or seen["answer"].shape != logits.shape:
                    return None
                found.append(seen["features"].float().cpu())
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(found)


def features(run: Run, *, device: str = "auto") -> tuple[dict[str, np.ndarray], str]:
    """Penultimate features (N, D) of the probe images, of every network that is compared with the ensemble.

    Returns
    -------
    found : dict of str to ndarray
        Without networks that have none; empty without an ensemble, and where the images cannot be read any more.
    said : str
        What they are, or which are missing and why.
    """
    if len(reading.components(run)) < 2:
        return {}, "No ensemble to compare features with."
    try:
        dataset = reading.load_data(run)
    except (OSError, RuntimeError, ValueError) as error:
        return {}, f"No features, and no CKA: the images cannot be read ({error})."
    names = [*reading.networks(run), *reading.techniques(run)]
    networks = in_threads(lambda name: reading.network(run, name, device=device), names)  # drawing weights takes long
    every = {n: penultimate_features(net, dataset, dataset.probe) for n, net in zip(names, networks, strict=True)}
    found = {name: own.numpy() for name, own in every.items() if own is not None}
    without = [name for name in every if name not in found]
    if without:
        return found, f"No features, and no CKA, of {', '.join(without)}: no linear layer at the end."
    return found, "Features: what the last linear layer is given."


def to_ensemble(run: Run, similarity: pd.DataFrame, own_features: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """How close every final network is to the ensemble on each probe image.

    Parameters
    ----------
    run : Run
    similarity : DataFrame
        Of maps, as of `study.to_ensemble`.
    own_features : mapping of str to ndarray, shape (N, D)
        Of the networks by name, as of `features`; without those of all components of an ensemble there is no CKA to it.

    Returns
    -------
    DataFrame
        A row a kind, model and image: kind (as in `similarity`; 'leave-one-out' is compared with the ensemble of the
        others in everything), model, image, agreement, KL (nats), CKA (shares of the image, `outputs.cka_by_image`),
        accuracy (0 or 1), similarity on target, similarity off target (mean over classes). No rows without an ensemble.
    """
    members, true = reading.components(run), reading.labels(run)
    pairs = similarity[["kind", "model"]].drop_duplicates().itertuples(index=False)
    names = [*reading.networks(run), *reading.techniques(run)]
    clean = _clean_logits(run, names)
    grams = {name: outputs.gram(own) for name, own in own_features.items() if len(true) >= 5}
    frames = []
    for kind, name in pairs:
        teachers = [member for member in members if kind != "leave-one-out" or member != name]
        reference = outputs.together([clean[n] for n in teachers], output=run.parameters["ensemble_output"])
        own = reading.distilled(run) if kind == "distilled" else name  # whose model is called so, whatever its name
        frame = outputs.by_image(reference, clean[own], true).assign(kind=kind, model=name)
        known = grams.keys() >= {own, *teachers}
        aligned = outputs.cka_by_image(grams[own], sum(grams[n] for n in teachers)) if known else np.nan
        frames.append(frame.assign(**{outputs.CKA: aligned}))
    if not frames:
        return pd.DataFrame(columns=list(COLUMNS))
    maps = similarity.pivot_table(index=["kind", "model", "image"], columns="target", values="pearson", observed=True)
    maps = (
        maps.rename(columns={"on target": MAPS_ON, "off target": MAPS_OFF})
        .reindex(columns=[MAPS_ON, MAPS_OFF])
        .reset_index()
    )
    return pd.concat(frames).merge(maps, on=["kind", "model", "image"], how="left")[list(COLUMNS)]


def to_the_rest(run: Run) -> pd.DataFrame:
    """How close each component is to the ensemble of the others, and the distilled network to the same ensemble.

    An ensemble of fewer networks has noisier maps and outputs, so that a component held against M - 1 networks looks
    further off than a network held against all M, even if nobody taught it. Here both are held against the same.

    Returns
    -------
    DataFrame
        A row a component left out, network and image: kind ('leave-one-out' or 'distilled'), model, without (the
        component left out), image, agreement, KL (nats), accuracy, similarity on target, similarity off target. No rows
        without an ensemble and a distilled network.
    """
    members, student, true = reading.components(run), reading.distilled(run), reading.labels(run)
    if len(members) < 2 or student is None:
        return pd.DataFrame(columns=[c for c in (*COLUMNS, "without") if c != outputs.CKA])
    names = [*members, student]
    clean = _clean_logits(run, names)
    occluded = reading.outputs_of(run, names)
    student_maps = reading.saliency_maps(run, occluded[student])

    def beside_rest(left_out: str, rest: np.ndarray) -> list[pd.DataFrame]:
        teachers = [clean[name] for name in members if name != left_out]
        reference = outputs.together(teachers, output=run.parameters["ensemble_output"])
        rest_maps, frames = reading.saliency_maps(run, rest), []
        for kind, name in (("leave-one-out", left_out), ("distilled", student)):
            close = pearson(student_maps if name == student else reading.saliency_maps(run, occluded[name]), rest_maps)
            own = np.arange(close.shape[1]) == true[:, None]
            means = {
                c: np.ma.masked_invalid(np.where(at, close, np.nan)).mean(1)
                for c, at in ((MAPS_ON, own), (MAPS_OFF, ~own))
            }
            columns = {c: mean.filled(np.nan) for c, mean in means.items()} | {"kind": kind, "model": name}
            frames.append(outputs.by_image(reference, clean[name], true).assign(**columns, without=left_out))
        return frames

    rests = leave_one_out(np.stack([occluded[name] for name in members]))
    return pd.concat(chain.from_iterable(in_threads(beside_rest, members, rests)), ignore_index=True)


def _clean_logits(run: Run, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Logits (N, K) of the probe images as they are, of final networks by name."""
    kept = store.MapStore(run.occlusion)
    logits = in_threads(lambda name: kept.logits(name)[:, 0].copy(), names)
    return dict(zip(names, logits, strict=True))


def to_consensus(run: Run) -> pd.DataFrame:
    """How close the maps of every state in the store are to the consensus, and how accurate the network is then.

    The consensus is the final ensemble; for a component, at every epoch, the final ensemble of the others.

    Returns
    -------
    DataFrame
        A row a state and probe image: kind (role of the network), model, epoch, image, similarity (Pearson, of the maps
        for the image's own class), accuracy (of the network at that epoch, on the test images, in [0, 1]). The controls
        count as well. No rows without an ensemble.
    """
    members, true = reading.components(run), reading.labels(run)
    if len(members) < 2:
        return pd.DataFrame(columns=list(STATES))
    accuracy = run.read_csv("history", made_by="train_models").set_index(["model", "epoch"])["test_accuracy"]

    def own_class(name: str, epoch: int | None = None) -> np.ndarray:
        chosen = reading.occluded_outputs(run, name, epoch)[np.arange(len(true)), :, true]
        return reading.saliency_maps(run, chosen[..., None])[:, 0]

    finals = np.stack(in_threads(own_class, members))
    everybody, rests = finals.mean(0), dict(zip(members, leave_one_out(finals), strict=True))
    roles = reading.roles(run)
    kept = store.MapStore(run.occlusion)
    states = [(name, epoch) for name in roles for epoch in kept.epochs(name)]
    close = in_threads(lambda state: pearson(own_class(*state), rests.get(state[0], everybody)), states)
    frames = []
    for (name, epoch), similarity in zip(states, close, strict=True):
        columns = {"kind": name if name == architectures.HALF_TAUGHT else roles[name], "model": name, "epoch": epoch}
        columns |= {"image": np.arange(len(true)), "similarity": similarity}
        frames.append(pd.DataFrame(columns).assign(accuracy=accuracy.get((name, epoch), np.nan)))
    return pd.concat(frames, ignore_index=True)
