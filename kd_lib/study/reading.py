"""What the notebooks read from a run: its data set, networks and maps, its labels and threshold."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from kd_lib import data
from kd_lib._workers import in_threads
from kd_lib.data import Dataset
from kd_lib.maps import store
from kd_lib.measures import bounds, similarity, transfer
from kd_lib.networks import architectures, given, training
from kd_lib.people.annotations import Annotations
from kd_lib.study.run import Run

INDIFFERENT = ("run", "root", "data_title", "models", "device", "executor", "recompute")  # to what a run computes
DATA = ("train_size", "test_size", "probe_per_class", "image_size", "mean", "std", "single_view", "seed")


def load_data(run: Run) -> Dataset:
    """Load the run's data set again, as `train_models` recorded it.

    Raises
    ------
    ValueError
        If the images are no longer the ones that the networks were trained on.
    """
    settings = run.parameters
    dataset = data.load(settings["data_set"], root=run.entry("root"), **data_settings(settings))
    if dataset.fingerprint != run.entry("dataset_fingerprint"):
        raise ValueError(
            f"the images of {settings['data_set']!r} are not those that {run.folder} was trained on: "
            "put the old ones back, or start another run folder"
        )
    return dataset


def data_settings(parameters: Mapping) -> dict:
    """Turn the parameters of `train_models` that say which images are used into arguments of `data.load`."""
    chosen = {name: parameters[name] for name in DATA}
    return chosen | {name: chosen[name] or None for name in ("train_size", "test_size")}


def decisive(parameters: Mapping, brought: Sequence[given.Network] = ()) -> dict:
    """Choose the parameters of `train_models` that decide what a run is, for `Run.claim`.

    With networks that are `brought`, how to train does not matter, but what these are does.
    """
    if not brought:
        return {name: value for name, value in parameters.items() if name not in INDIFFERENT}
    chosen = {name: parameters[name] for name in ("data_set", *DATA, "ensemble_output")}
    return chosen | {f"network {name}": digest for name, digest in given.fingerprint(brought).items()}


def recipes(
    names: Sequence[str],
    arch: str,
    num_classes: int,
    *,
    controls: Sequence[str] = (),
    techniques: Sequence[str] = (),
) -> dict[str, dict]:
    """How to build what `train_models` trains: components of these names, the distilled network, controls, rivals."""
    recipe = {"factory": "kd_lib.networks:build", "arguments": {"arch": arch, "num_classes": num_classes}}
    of_role = dict.fromkeys(names, "component") | {"distilled": "distilled"} | dict.fromkeys(controls, "control")
    of_role |= dict.fromkeys(techniques, "technique")
    return {name: recipe | {"role": role} for name, role in of_role.items()}


def components(run: Run) -> list[str]:
    """Names of the networks that make up the run's ensemble."""
    return _of_role(run, "component")


def distilled(run: Run) -> str | None:
    """Name of the distilled network; None if the run has none."""
    return next(iter(_of_role(run, "distilled")), None)


def others(run: Run) -> list[str]:
    """Names of the networks that are neither."""
    return _of_role(run, "other")


def networks(run: Run) -> list[str]:
    """Names of the networks that the study is about: components, then the distilled one, then the others."""
    return [*components(run), *_of_role(run, "distilled"), *others(run)]


def controls(run: Run) -> list[str]:
    """Names of the networks that only say what a similarity means, see `models.CONTROLS`."""
    return _of_role(run, "control")


def techniques(run: Run) -> list[str]:
    """Names of the networks that were trained without the ensemble, each by the technique of its name."""
    return _of_role(run, "technique")


def halves(run: Run) -> tuple[list[str], list[str]]:
    """Components that the half-taught network learns from, and the rest."""
    names = components(run)
    return names[: len(names) // 2], names[len(names) // 2 :]


def roles(run: Run) -> dict[str, str]:
    """Role of every network: 'component', 'distilled', 'other', 'control' or 'technique'."""
    return {name: recipe["role"] for name, recipe in run.entry("networks").items()}


def kinds(run: Run) -> dict[str, str]:
    """Kind of every network, which charts tell apart: its role, or its technique."""
    return {name: name if role == "technique" else role for name, role in roles(run).items()}


def _of_role(run: Run, role: str) -> list[str]:
    return [name for name, own in roles(run).items() if own == role]


def network(run: Run, name: str, epoch: int | None = None, *, device: str = "auto") -> nn.Module:
    """Restore a network of the run in evaluation mode, after `epoch` epochs (all of them by default)."""
    model = given.build(name, run.entry("networks")[name])
    model.to(training.pick_device(device), memory_format=torch.channels_last)
    epoch = run.checkpoints.last_epoch(name) if epoch is None else epoch
    return run.checkpoints.load(name, epoch, model).eval()


def ensemble(run: Run, *, device: str = "auto") -> architectures.Ensemble | None:
    """Restore the ensemble of the run's components; None if there are fewer than two."""
    return ensemble_of(run, components(run), device=device) if len(components(run)) > 1 else None


def ensemble_of(run: Run, names: Sequence[str], *, device: str = "auto") -> architectures.Ensemble:
    """Restore the ensemble of some of the run's networks."""
    members = [network(run, name, device=device) for name in names]
    return architectures.Ensemble(members, run.parameters["ensemble_output"])


def states(run: Run, every_epoch: int | None) -> list[tuple[str, int]]:
    """Which (model, epoch) to explain: all epochs of the first `every_epoch` components, the last of all networks.

    None takes all components. Where there are none, the other networks take their place.

    Raises
    ------
    ValueError
        If `every_epoch` is negative or larger than the number of components.
    """
    names = components(run) or others(run)
    every_epoch = len(names) if every_epoch is None else every_epoch
    if not 0 <= every_epoch <= len(names):
        raise ValueError(f"every_epoch={every_epoch}: expected 0 to {len(names)}, the number of components")
    whole = [(name, epoch) for name in names[:every_epoch] for epoch in run.checkpoints.epochs(name)]
    rest = [name for name in [*networks(run), *techniques(run), *controls(run)] if name not in names[:every_epoch]]
    return whole + [(name, run.checkpoints.last_epoch(name)) for name in rest]


def occluded_outputs(run: Run, model: str, epoch: int | None = None) -> np.ndarray:
    """Occluded outputs (N, 1 + W, K) of a model, in the unit in which the run's ensemble averages.

    Logits, or probabilities where `ensemble_output` is 'probs', so that the mean over models is the ensemble.
    """
    logits = store.MapStore(run.occlusion).logits(model, epoch)
    if run.parameters["ensemble_output"] == "logits":
        return logits
    return torch.as_tensor(logits).softmax(-1).numpy()


def saliency_maps(run: Run, outputs: np.ndarray) -> np.ndarray:
    """Saliency maps (..., K, H, W) of occluded outputs, with the windows of the run's store.

    Of the outputs themselves, unless the run is a `choices.Variant` that explains something else of them.
    """
    chosen = run.parameters
    output = chosen.get("output", "logits")
    if output != "logits" and chosen["ensemble_output"] == "probs":
        outputs = np.log(np.maximum(outputs, np.finfo(np.float32).tiny))  # logits of the same probabilities
    return store.MapStore(run.occlusion).maps(outputs, output)


def maps(run: Run, model: str, epoch: int | None = None) -> np.ndarray:
    """Saliency maps (N, K, H, W) of one model on the probe images, at its last stored epoch by default."""
    return saliency_maps(run, occluded_outputs(run, model, epoch))


def maps_of(run: Run, names: Sequence[str]) -> list[np.ndarray]:
    """Read the maps of several models, as `maps`."""
    return in_threads(lambda name: maps(run, name), names)


def outputs_of(run: Run, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the outputs of several models at their last epoch, by name; see `occluded_outputs`."""
    return dict(zip(names, in_threads(lambda name: occluded_outputs(run, name), names), strict=True))


def threshold(run: Run, value: float | None) -> tuple[float, str]:
    """T_c and where it comes from: the value given, or else what `threshold_determination` settled on."""
    if value is not None:
        return float(value), "given as a parameter"
    table = run.read_csv("threshold", made_by="threshold_determination")
    chosen = table[table["used"]].iloc[0]
    return float(chosen["value"]), chosen["source"]


def labels(run: Run) -> np.ndarray:
    """Read the true classes (N,) of the probe images."""
    return store.MapStore(run.occlusion).labels


def annotations(run: Run) -> Annotations:
    """Say what people are asked about in a run, and where their answers lie."""
    drawn = run.parameters["data_set"] == "multiview"
    return Annotations(run.annotations, networks(run), labels(run), run.entry("class_names"), drawn)


def explained_at_every_epoch(run: Run) -> list[str]:
    """Networks whose maps of every epoch are stored, of those that have more than one."""
    return [
        name
        for name in networks(run)
        if len(run.checkpoints.epochs(name)) > 1
        and store.MapStore(run.occlusion).epochs(name) == run.checkpoints.epochs(name)
    ]


def similarity_to_final(run: Run, model: str) -> np.ndarray:
    """Pearson similarity (E + 1, N, K) of each of a model's maps to its final one, epoch by epoch."""
    return similarities_to_final(run, {model: store.MapStore(run.occlusion).epochs(model)})[model]


def similarities_to_final(run: Run, epochs: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Pearson similarity (E, N, K) of several models' maps to their final ones, of each model at its E `epochs`."""
    finals = dict(zip(epochs, maps_of(run, list(epochs)), strict=True))
    states = [(name, epoch) for name, own in epochs.items() for epoch in own]
    found = iter(in_threads(lambda state: similarity.pearson(maps(run, *state), finals[state[0]]), states))
    return {name: np.stack([next(found) for _ in own]) for name, own in epochs.items()}


def accuracies(run: Run, dataset: Dataset, *, device: str = "auto") -> pd.DataFrame:
    """Test accuracy of every network after every epoch stored: columns model, epoch, test_accuracy (in [0, 1])."""
    rows = []
    for name in [*networks(run), *controls(run)]:
        for epoch in run.checkpoints.epochs(name):
            logits = training.predict(network(run, name, epoch, device=device), dataset, dataset.test)
            rows.append((name, epoch, training.accuracy(logits, dataset.test.labels)))
    return pd.DataFrame(rows, columns=["model", "epoch", "test_accuracy"])


def accuracy_table(run: Run, last: pd.Series, together: float | None) -> pd.DataFrame:
    """Accuracies in %, beside Table 4.1 of Gardner (2022).

    Parameters
    ----------
    run : Run
    last : Series
        Final accuracy of each network, by name.
    together : float or None
        That of the ensemble, if there is one.
    """
    own, student = last[components(run)], distilled(run)
    rows = []
    if len(own):
        rows += [("components, mean", own.mean(), 84.37), ("components, sd", own.std(), 0.32)]
    if together is not None:
        rows.append(("ensemble", together, 87.95))
    if student:
        rows.append(("distilled", last[student], 85.32))
    rows += [(name, last[name], np.nan) for name in [*others(run), *techniques(run), *controls(run)]]
    return pd.DataFrame(rows, columns=["network", "accuracy (%)", "Gardner (2022) (%)"])


def regime_table(regime: training.Regime, *, networks: int) -> pd.DataFrame:
    """How the networks are trained, beside Table 3.1 of Gardner (2022)."""
    rows = {
        "architecture": (regime.arch, "resnet18"),
        "components": (networks, 10),
        "epochs": (regime.epochs, 64),
        "batch size": (regime.batch_size, 1024),
        "optimiser": (regime.optimiser, "Adam"),
        "peak learning rate": (regime.max_lr, 0.4),
        "momentum": (regime.momentum, 0.9),
        "weight decay": (regime.weight_decay, 0.001),
        "schedule": ("one cycle, linear", "one cycle"),
        "mirrored at random": (regime.flip, True),
        "crop padding (pixels)": (regime.crop_padding, 4),
        "precision": (regime.precision, "float32"),
    }
    return pd.DataFrame(rows, index=["this run", "Gardner (2022)"]).T


def compared(run: Run) -> list[str]:
    """Names of the networks that RQ2 compares: all but the distilled one, unless that leaves fewer than two."""
    names = [*components(run), *others(run)]
    return names if len(names) > 1 else networks(run)


def similarity_matrix(run: Run, image: int) -> pd.DataFrame:
    """Pearson similarity of the maps of one probe image for its own class, every network and the ensemble.

    Returns
    -------
    DataFrame
        Long-form: columns network, other network, similarity.
    """
    outputs = final_outputs(run, image)
    own = saliency_maps(run, np.stack(list(outputs.values())))[:, labels(run)[image]]
    matrix = pd.DataFrame(similarity.pearson(own[:, None], own[None]), index=list(outputs), columns=list(outputs))
    matrix = matrix.rename_axis("network")
    return matrix.melt(ignore_index=False, var_name="other network", value_name="similarity").reset_index()


def final_outputs(run: Run, image: int) -> dict[str, np.ndarray]:
    """Occluded outputs (1 + W, K) of one probe image, of every network at its last epoch and of the ensemble."""
    outputs = {name: occluded_outputs(run, name)[image] for name in networks(run)}
    if len(members := components(run)) > 1:
        outputs["ensemble"] = sum(outputs[name] for name in members) / len(members)
    return outputs


def to_ensemble(run: Run) -> pd.DataFrame:
    """Similarity of every network's maps to the ensemble's, see `transfer.to_ensemble`; no rows without an ensemble."""
    members = components(run)
    if len(members) < 2:
        return pd.DataFrame(columns=[*transfer.TO_ENSEMBLE, "class"]).astype({"pearson": float, "cosine": float})
    student = distilled(run)
    outside = [] if student is None else [("distilled", "distilled", student)]
    outside += [("other", name, name) for name in others(run)] + [(name, name, name) for name in techniques(run)]
    outputs = outputs_of(run, [*networks(run), *techniques(run)])
    stacked = np.stack([outputs[name] for name in members])
    rests = transfer.leave_one_out(stacked)
    together = stacked.mean(0, dtype=np.float64).astype(rests.dtype)
    every = [together, *rests, *stacked, *(outputs[name] for *_, name in outside)]
    ensemble, *found = in_threads(lambda own: saliency_maps(run, own), every)
    count = len(members)
    frame = transfer.to_ensemble(
        dict(zip(members, found[count : 2 * count], strict=True)),
        ensemble,
        dict(zip(members, found[:count], strict=True)),
        labels(run),
        outsiders=[(kind, model, m) for (kind, model, _), m in zip(outside, found[2 * count :], strict=True)],
    )
    return named(frame, run)


def to_half_ensembles(run: Run) -> pd.DataFrame:
    """Similarity of maps to those of half the ensemble, see `transfer.to_halves`; no rows without a half-taught net."""
    if architectures.HALF_TAUGHT not in controls(run):
        return pd.DataFrame(columns=[*transfer.TO_HALVES, "class"]).astype({"pearson": float, "cosine": float})
    sides = []
    for half in halves(run):
        outputs = outputs_of(run, half)
        own = {name: saliency_maps(run, of_one) for name, of_one in outputs.items()}
        sides.append((saliency_maps(run, sum(outputs.values()) / len(outputs)), own))
    frame = transfer.to_halves(maps(run, architectures.HALF_TAUGHT), *sides, labels(run))
    return named(frame, run)


def own_part(run: Run) -> pd.DataFrame:
    """How much of a component's likeness to the ensemble is likeness to itself, see `transfer.own_part`."""
    members = maps_of(run, components(run))
    columns = ["on_target", "own part"]
    return transfer.own_part(members, labels(run)) if len(members) > 1 else pd.DataFrame(columns=columns)


def references_of(run: Run) -> pd.DataFrame:
    """Floors and ceilings of similarity in this run, see `references`; every network, in one frame."""
    true, at_every_epoch = labels(run), explained_at_every_epoch(run)
    shuffled = maps(run, architectures.SHUFFLED) if architectures.SHUFFLED in controls(run) else None

    def of(name: str) -> list[pd.DataFrame]:
        final, epochs = maps(run, name), run.checkpoints.epochs(name)
        frames = [bounds.floors(final, true, model=name)]
        if shuffled is not None:
            frames.append(similarity.compare(final, shuffled, true, kind=bounds.SHUFFLED_LABELS, model=name))
        if name in at_every_epoch:
            stored = {epoch: maps(run, name, epoch) for epoch in (epochs[0], epochs[-2])} | {epochs[-1]: final}
            frames.append(bounds.over_training(stored, true, model=name))
        return frames

    found = in_threads(of, networks(run))
    in_order = [frames[part] for part in range(3) for frames in found if part < len(frames)]  # each kind's together
    return named(pd.concat(in_order, ignore_index=True), run)


def named(frame: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Say which class a target is, in a column class, and in target whether it is the image's own."""
    class_names = run.entry("class_names")
    return frame.assign(
        **{"class": frame["target"].map(lambda k: class_names[k])},
        target=frame["on_target"].map({True: "on target", False: "off target"}),
    )
