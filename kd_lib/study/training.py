"""What `train_models` does and says: who learns what from whom, and how accurate that makes each network."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kd_lib import _workers
from kd_lib.data import Dataset, with_shuffled_labels
from kd_lib.measures import gaps
from kd_lib.networks import architectures, given
from kd_lib.networks import training as networks_training
from kd_lib.networks.architectures import HALF_TAUGHT, SELF_DISTILLATION, SHUFFLED, technique_of
from kd_lib.networks.regime import Regime
from kd_lib.networks.techniques import train_technique
from kd_lib.study.reading import ENSEMBLE, Study

if TYPE_CHECKING:
    from distributed import Client


def train_all(here: Study, regime: Regime, *, client: "Client | None" = None, **options) -> pd.DataFrame:
    """Train every network of a run, or what is left of it; a student waits for its teachers only.

    The recipes of `here` say which. The `client`'s workers train one network each at a time, see `_workers.connect`;
    None trains here, one after the other. More `options` are those of `train`. Gives the histories of `networks.train`,
    in the order of the recipes.
    """
    images = here.dataset if client is None else client.submit(_images, here)
    by_one = [name for name in here.techniques if technique_of(name) == SELF_DISTILLATION]
    teachers = _taught_by(here) | dict.fromkeys(by_one, here.components[:1])
    histories = _workers.each(client, train, list(here.recipes), images, regime, after=teachers, here=here, **options)
    return pd.concat(histories, ignore_index=True)


def _taught_by(here: Study) -> dict[str, list[str]]:
    """Components whose ensemble teaches a network, by the network's name."""
    return dict.fromkeys(here.students, here.components) | dict(zip(HALF_TAUGHT, here.halves, strict=True))


def _images(here: Study) -> Dataset:
    return here.dataset


def train(name: str, dataset: Dataset, regime: Regime, *, here: Study, device: str = "auto", **options) -> pd.DataFrame:
    """Train one network as its role asks: on which labels, and from which teacher.

    The networks that it learns from are trained already; `dataset` has the true labels, and the parameters of `here`
    say seed, temperature and hard_weight. More `options` are those of `networks.train`, whose history it gives.
    """
    options |= {"checkpoints": here.run.checkpoints, "seed": here.parameters["seed"], "device": device}
    softened = {key: here.parameters[key] for key in ("temperature", "hard_weight") if key in here.parameters}
    if name in here.techniques:
        by_one = technique_of(name) == SELF_DISTILLATION
        first = here.network(here.components[0], device=device) if by_one else None
        return train_technique(name, dataset, regime, component=first, **softened, **options)
    if taught_by := _taught_by(here).get(name):
        teacher = here.ensemble_of(taught_by, device=device)
        return networks_training.train(name, dataset, regime, teacher=teacher, **softened, **options)
    if name == SHUFFLED:
        dataset = with_shuffled_labels(dataset, seed=here.parameters["seed"])
    return networks_training.train(name, dataset, regime, **options)


# ---- how they are trained --------------------------------------------------------------------------------------------


def regime_table(parameters: dict) -> pd.DataFrame:
    """How the networks are trained, beside Table 3.1 of Gardner (2022); or which networks are brought instead."""
    if parameters["models"]:
        return given.table(given.read(parameters["models"]))
    rows = {
        "architecture": ("arch", "resnet18"),
        "components": ("components", 10),
        "epochs": ("epochs", 64),
        "batch size": ("batch_size", 1024),
        "optimiser": ("optimiser", "Adam"),
        "peak learning rate": ("max_lr", 0.4),
        "momentum": ("momentum", 0.9),
        "weight decay": ("weight_decay", 0.001),
        "schedule": ("schedule", "one-cycle"),
        "mirrored at random": ("flip", True),
        "crop padding (pixels)": ("crop_padding", 4),
        "precision": ("precision", "float32"),
    }
    here = {what: parameters.get(name, "one-cycle") for what, (name, _) in rows.items()}
    published = {what: thesis for what, (_, thesis) in rows.items()}
    return pd.DataFrame([here, published], index=["this run", "Gardner (2022)"]).T


# ---- how accurate they are -------------------------------------------------------------------------------------------


def accuracies(here: Study, *, device: str = "auto") -> pd.DataFrame:
    """Test accuracy of every network after every epoch stored: columns model, epoch, test_accuracy (in [0, 1])."""
    rows, test = [], here.dataset.test
    for name in [*here.networks, *here.controls]:
        for epoch in here.run.checkpoints.epochs(name):
            logits = networks_training.predict(here.network(name, epoch, device=device), here.dataset, test)
            rows.append((name, epoch, networks_training.accuracy(logits, test.labels)))
    return pd.DataFrame(rows, columns=["model", "epoch", "test_accuracy"])


def curves(here: Study, history: pd.DataFrame) -> pd.DataFrame:
    """History of the networks that have several epochs, with their kind and their accuracy in %."""
    several = history.groupby("model")["epoch"].transform("size") > 1
    kinds = history["model"].map(here.kinds)
    return history.assign(kind=kinds, accuracy=100 * history["test_accuracy"])[several]


def right_answers(here: Study, *, device: str = "auto") -> pd.DataFrame:
    """Which test images every network of the study and the ensemble classify correctly, at their last epoch.

    A row a network and test image: kind ('component', 'distilled', 'other' or 'ensemble'), model, image (position in
    the source), right.
    """
    test, kinds = here.dataset.test, here.roles | {ENSEMBLE: ENSEMBLE}
    frames = []
    for name in here.with_ensemble:
        right = here.answers(name, device=device).argmax(1) == test.labels
        frames.append(pd.DataFrame({"image": test.index, "right": right}).assign(kind=kinds[name], model=name))
    return pd.concat(frames, ignore_index=True)[["kind", "model", "image", "right"]]


def by_kind(here: Study, right: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy of each kind of network, and how they differ, image by image; kept as tables, see `measures.gaps`."""
    found = here.keep(gaps.accuracy_by_kind(right), "accuracies")
    return found, here.keep(gaps.in_accuracy(right), "accuracy_gaps")


def by_views(here: Study, right: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on drawn test images of one view of their class and of several, in %, and how many of each there are.

    `right` is what `right_answers` returned. A row a kind of network, and first the share of test and training images;
    columns 'one view', 'several views'. No rows where images have no views.
    """
    names, rows = ("one view", "several views"), {}
    if (views := here.dataset.test.views) is None or (learnt := here.dataset.train.views) is None:
        return pd.DataFrame(columns=list(names))
    for what, single in (("share of the test images", views.single), ("share of the training images", learnt.single)):
        share = 100 * single.double().mean().item()
        rows[what] = (share, 100 - share)
    single = dict(zip(here.dataset.test.index.tolist(), views.single.tolist(), strict=True))
    of_one = right["image"].map(single).astype(bool)
    for kind, own in right.groupby("kind", sort=False)["right"]:
        rows[kind] = tuple(100 * own[of_one[own.index] == one].mean() for one in (True, False))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(names)).rename_axis("accuracy (%)")


def by_network(history: pd.DataFrame) -> pd.DataFrame:
    """Give the final accuracy in % of every network: columns model and accuracy (%)."""
    last = history.groupby("model", sort=False)["test_accuracy"].last() * 100
    return last.rename("accuracy (%)").reset_index()


def accuracy_table(here: Study, history: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
    """Accuracies in %, beside Table 4.1 of Gardner (2022).

    `history` and `right` are what `pipeline.train` and `right_answers` returned. Columns network, accuracy (%), Gardner
    (2022) (%); kept as `accuracy`, and of each network alone.
    """
    last = by_network(history).set_index("model")["accuracy (%)"]
    own, rows = last[here.components], []
    if len(own):
        rows += [("components, mean", own.mean(), 84.37), ("components, sd", own.std(), 0.32)]
    if here.has_ensemble:
        rows.append((ENSEMBLE, 100 * right.loc[right["kind"] == ENSEMBLE, "right"].mean(), 87.95))
    if here.distilled:
        rows.append(("distilled", last[here.distilled], 85.32))
    more = [*here.students[1:], *here.others, *here.techniques, *here.controls]
    rows += [(name, last[name], np.nan) for name in more]
    table = pd.DataFrame(rows, columns=["network", "accuracy (%)", "Gardner (2022) (%)"])
    here.keep(by_network(history), "accuracy_by_network")
    return here.keep(table, "accuracy")


def which_optimiser(accuracy: pd.DataFrame, optimiser: str, max_lr: float) -> str | None:
    """Say which optimiser gives the accuracy of Gardner (2022), whose Table 3.1 names Adam and SGD's momentum.

    `accuracy` is what `accuracy_table` returned; `optimiser` ('sgd' or 'adam') trained the components, with `max_lr` as
    the peak of the learning rate. None unless this is SGD and a network beside them was trained by Adam.
    """
    found = accuracy.set_index("network")
    if optimiser != "sgd" or architectures.ADAM not in found.index:
        return None
    published = found.at["components, mean", "Gardner (2022) (%)"]
    sgd, adam = found.at["components, mean", "accuracy (%)"], found.at[architectures.ADAM, "accuracy (%)"]
    nearer = "SGD" if abs(sgd - published) < abs(adam - published) else "Adam"
    return (
        f"At a peak learning rate of {max_lr:g}, SGD reaches {sgd:.1f} % (mean of the components) and Adam "
        f"{adam:.1f} % (one network); Gardner (2022) has {published:.1f} %, so that {nearer} is the likelier reading."
    )


def checks(accuracy: pd.DataFrame) -> list[str]:
    """Say what the notebook claims of its accuracies, and whether it is so."""
    found, said = accuracy.set_index("network")["accuracy (%)"], []
    if ENSEMBLE in found.index:
        enough = found[ENSEMBLE] - found["components, mean"] >= 1.5
        said.append(f"the ensemble is more accurate than the mean component by at least 1.5 points: {enough}")
        if "distilled" in found.index:
            more = found["distilled"] > found["components, mean"]
            said.append(f"the distilled network is more accurate than the mean component: {more}")
    return said
