"""What a finished step of a run gives to the next: its data set, its networks, its maps, its threshold."""

import io

import numpy as np
import torch
from torch import nn

from kd_lib import data, models, occlusion, occlusion_store, store, training
from kd_lib.data import Dataset

DATA = ("train_size", "test_size", "probe_per_class", "seed")


def load_data(run: store.Run) -> Dataset:
    """Load the run's data set again, as `train_models` recorded it.

    Raises
    ------
    ValueError
        If the images are no longer the ones that the networks were trained on.
    """
    settings = run.parameters
    sizes = {name: settings[name] or None if name.endswith("size") else settings[name] for name in DATA}
    dataset = data.load(settings["data_set"], root=run.entry("root"), **sizes)
    if dataset.fingerprint != run.entry("dataset_fingerprint"):
        raise ValueError(
            f"the images of {settings['data_set']!r} are not those that {run.folder} was trained on: "
            "put the old ones back, or start another run folder"
        )
    return dataset


def components(run: store.Run) -> list[str]:
    """Names of the run's component networks."""
    return models.component_names(run.parameters["components"])


def network(run: store.Run, name: str, epoch: int | None = None, *, device: str = "auto") -> nn.Module:
    """Restore a network of the run in evaluation mode, after `epoch` epochs (all of them by default)."""
    model = models.build(run.parameters["arch"], len(run.entry("class_names")))
    model.to(training.pick_device(device), memory_format=torch.channels_last)
    path = run.checkpoint_path(name, run.last_epoch(name) if epoch is None else epoch)
    return store.load_checkpoint(path, model).eval()


def ensemble(run: store.Run, *, device: str = "auto") -> models.Ensemble:
    """Restore the ensemble of the run's components."""
    members = [network(run, name, device=device) for name in components(run)]
    return models.Ensemble(members, run.parameters["ensemble_output"])


def states(run: store.Run, every_epoch: int) -> list[tuple[str, int]]:
    """Which (model, epoch) to explain: all epochs of the first `every_epoch` components, the last of all networks.

    Raises
    ------
    ValueError
        If `every_epoch` is negative or larger than the number of components.
    """
    names = components(run)
    if not 0 <= every_epoch <= len(names):
        raise ValueError(f"every_epoch={every_epoch}: expected 0 to {len(names)}, the number of components")
    whole = [(name, epoch) for name in names[:every_epoch] for epoch in run.epochs(name)]
    return whole + [(name, run.last_epoch(name)) for name in [*names[every_epoch:], "distilled"]]


def occluded_outputs(run: store.Run, model: str, epoch: int | None = None) -> np.ndarray:
    """Occluded outputs (N, 1 + W, K) of a model, in the unit in which the run's ensemble averages.

    Logits, or probabilities where `ensemble_output` is 'probs', so that the mean over models is the ensemble.
    """
    logits = occlusion_store.logits_of(run.occlusion, model, epoch)
    if run.parameters["ensemble_output"] == "logits":
        return logits
    return torch.as_tensor(logits).softmax(-1).numpy()


def saliency_maps(run: store.Run, outputs: np.ndarray) -> np.ndarray:
    """Saliency maps (..., K, H, W) of occluded outputs, with the windows of the run's store."""
    settings = occlusion_store.open_group(run.occlusion).attrs
    windows = {"image_size": tuple(settings["image_size"]), "patch": settings["patch"], "stride": settings["stride"]}
    return occlusion.saliency_maps(outputs, **windows).numpy()


def maps(run: store.Run, model: str, epoch: int | None = None) -> np.ndarray:
    """Saliency maps (N, K, H, W) of one model on the probe images, at its last stored epoch by default."""
    return saliency_maps(run, occluded_outputs(run, model, epoch))


def view_logits(model: nn.Module, dataset: Dataset) -> np.ndarray:
    """Logit of class k for each probe image drawn again without view v of class k.

    Returns
    -------
    ndarray, float32, shape (N, K, V)
        The logit of the image itself where it does not show the view.
    """
    probe = dataset.probe
    shape = probe.views.present.shape
    answers = np.empty(shape, np.float32)
    for k in range(shape[1]):
        for v in range(shape[2]):
            removed = data.Split(probe.views.without(k, v), probe.labels, probe.index)
            answers[:, k, v] = training.predict(model, dataset, removed)[:, k]
    return answers


def save_view_logits(run: store.Run, answers: dict[str, np.ndarray]) -> None:
    """Keep what `view_logits` gave for each model, in `results/view_logits.npz`."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **answers)
    store.write_bytes(run.results / "view_logits.npz", buffer.getvalue())


def read_view_logits(run: store.Run) -> dict[str, np.ndarray]:
    """Read what `save_view_logits` kept."""
    path = run.results / "view_logits.npz"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run generate_saliency_maps first")
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def threshold(run: store.Run, value: float | None) -> tuple[float, str]:
    """T_c and where it comes from: the value given, or else what `threshold_determination` settled on."""
    if value is not None:
        return float(value), "given as a parameter"
    table = run.read_csv("threshold", made_by="threshold_determination")
    chosen = table[table["used"]].iloc[0]
    return float(chosen["value"]), chosen["source"]
