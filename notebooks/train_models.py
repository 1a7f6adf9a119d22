# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train the networks
#
# The study needs three kinds of network of one architecture: *components* that differ only in their seed, their
# *ensemble*, and a *distilled* network that learns to give the ensemble's answers. This notebook trains them and keeps
# a checkpoint after every epoch, the untrained network included, because RQ1 asks how the maps change on the way.

# %% tags=["parameters"]
run: str = "runs/quick"  # folder that receives everything; a relative one starts at the project's folder
data_set: str = "multiview"  # multiview | cifar10 | imagefolder (with root)
root: str = ""  # folder of images (imagefolder) or download folder (cifar10)
data_title: str = ""  # what pages call the images of a folder, such as "our dogs"; empty: by data_set
models: str = ""  # YAML of networks that are there already, see the README; empty trains some
train_size: int = 2500  # training images, a stratified sample; 0 takes all
test_size: int = 1500  # test images before the probe is taken out; 0 takes all
probe_per_class: int = 10  # test images of each class set aside to be explained, used for nothing else
image_size: int | list = 32  # pixels a side, or [height, width], to which the images of a folder are resized
mean: list | None = None  # of each channel, 0 to 1, for normalising; None takes that of the training images
std: list | None = None  # likewise, the standard deviation
single_view: float = 0.2  # multiview: share of the training images that show a single view of their class
components: int = 4  # networks in the ensemble
arch: str = "resnet10"  # resnet10 or any torchvision classification model
epochs: int = 8  # passes over the training images
batch_size: int = 64  # images a step
optimiser: str = "sgd"  # sgd (Nesterov) | adam
max_lr: float = 0.05  # peak of the one-cycle learning rate
momentum: float = 0.9  # of SGD; beta_1 of Adam
weight_decay: float = 5e-4  # L2 penalty
flip: bool = False  # mirror images at random
crop_padding: int = 2  # random shifts by up to this many pixels
ensemble_output: str = "logits"  # what the ensemble averages: logits | probs
temperature: float = 4.0  # of the soft targets
hard_weight: float = 0.0  # weight of the true labels in the distillation loss
controls: bool = True  # also train the networks that say what a similarity means
techniques: list = []  # also train: plain, label-smoothing, ricap, mixup, cutmix, self-distillation, adam
seed: int = 0  # of the samples, and of the networks
device: str = "auto"  # auto | cpu | cuda
precision: str = "float32"  # float32 | bfloat16
executor: str = "local:2"  # empty (this process) | local:N (worker processes) | a Dask scheduler's address (tcp://…)
recompute: bool = False  # train anew, whatever is stored

# %% tags=["hide-input"]
import time

import pandas as pd

from kd_lib import _workers, data
from kd_lib.book import verdicts
from kd_lib.figures import charts, pictures
from kd_lib.measures import gaps
from kd_lib.networks import given, training
from kd_lib.networks.architectures import CONTROLS, component_names
from kd_lib.networks.techniques import check_techniques
from kd_lib.study import parameters
from kd_lib.study import reading as study
from kd_lib.study import training as trainings
from kd_lib.study.gaps import right_answers
from kd_lib.study.run import Run

parameters.check(globals())

# %% [markdown]
# ## Data
#
# The *probe* is taken out of the test images: those are the images that the saliency maps explain, and no accuracy is
# ever measured on them.

# %%
dataset = data.load(data_set, root=root or None, **study.data_settings(globals()))
pd.Series({"training images": len(dataset.train), "test images": len(dataset.test), "probe images": len(dataset.probe)})

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-samples", "caption": "Training images of each class, as the networks see them before augmentation."}}
pictures.image_grid(
    [(name, dataset.train.images[dataset.train.labels == k][:10]) for k, name in enumerate(dataset.class_names)],
    title="Ten training images of each class",
    description=f"A grid of training images, one row for each of the classes {', '.join(dataset.class_names)}.",
)

# %% [markdown]
# ## Regime
#
# Every network is trained in the same way; the right column is Table 3.1 of Gardner (2022). That table names Adam and
# a momentum of 0.9 together, which is a setting of SGD; here SGD with Nesterov momentum is the default and Adam a
# parameter. The technique `adam` trains one network by it, to see which reading gives the accuracy of the thesis.
# Networks that are `given` instead are listed, and nothing is trained.

# %% mystnb={"figure": {"name": "tab-regime", "caption": "How the networks are trained, beside Table 3.1 of Gardner (2022); or the networks that are given.", "caption_before": true, "classes": "numbered-table"}}
regime = training.Regime(
    arch=arch,
    epochs=epochs,
    batch_size=batch_size,
    optimiser=optimiser,
    max_lr=max_lr,
    momentum=momentum,
    weight_decay=weight_decay,
    flip=flip,
    crop_padding=crop_padding,
    precision=precision,
)
names = component_names(components)
check_techniques(techniques)
brought = given.read(models) if models else []
given.check(brought, dataset)
given.table(brought) if brought else study.regime_table(regime, networks=components)

# %% [markdown]
# ## Training
#
# A run folder belongs to one set of parameters; with others, the next cell refuses to go on. Whatever is trained
# already is kept, and an interrupted training goes on after its last full epoch.

# %%
place = Run(run)
decisive = study.decisive({name: globals()[name] for name in __annotations__}, brought)
place.claim(decisive, dataset_fingerprint=dataset.fingerprint)
place.record("class_names", list(dataset.class_names))
place.record("root", root or None)
place.record("data_title", data_title or None)
if brought:
    place.record("networks", given.take(brought, place.checkpoints))
else:
    chosen = CONTROLS if controls and components > 1 else ()
    recipes = study.recipes(names, arch, len(dataset.class_names), controls=chosen, techniques=techniques)
    place.record("networks", recipes)

# %% [markdown]
# The distilled network has the same architecture and a fresh seed. Its targets are the ensemble's outputs on the very
# batch that it sees, augmentation included, softened by the temperature {cite}`hinton2015distilling`; it is never
# shown a label unless `hard_weight` asks for it.
#
# Two more networks are controls, which later chapters compare with: one trained on labels in random order
# {cite}`adebayo2018sanity`, whose maps cannot show what the classes look like, and a *half-taught* student, distilled
# from the first half of the components only, so that the other half is an ensemble that it was not taught by.
#
# Where `techniques` names some, as the profile `full` does, each trains one more network with the same budget and
# without the ensemble: plainly on the labels, by one of four ways to change labels or images, by Adam, or distilled
# from one component. RQ3 asks which comes closest to the distilled network.

# %%
started = time.perf_counter()
options = {"temperature": temperature, "hard_weight": hard_weight}
options |= {"seed": seed, "device": device, "recompute": recompute}
if brought:
    history = study.accuracies(place, dataset, device=device)
else:
    lacking = recompute or any(epochs not in place.checkpoints.epochs(name) for name in recipes)
    with _workers.connect(executor) as client:
        history = trainings.train_all(place, dataset, regime, client=client, **options)
    if lacking:
        place.record("seconds_training", round(time.perf_counter() - started, 1))
place.write_csv(history, "history")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-training", "caption": "Loss and accuracy by epoch. The distilled network's loss is its distance to the ensemble (scaled by the squared temperature), so the two kinds of loss are not comparable; mixed images and changed labels raise the loss, too."}}
several = history.groupby("model")["epoch"].transform("size") > 1
charts.training_curves(
    history.assign(kind=history["model"].map(study.kinds(place)), accuracy=100 * history["test_accuracy"])[several],
    title="Loss and accuracy of every network by epoch",
    description="Training loss and test accuracy of every network by epoch.",
)

# %% [markdown]
# ## Accuracy
#
# Measured on the test images without the probe. The last column is what Gardner (2022, Table 4.1) found with ten
# ResNet18 on CIFAR-10.

# %% mystnb={"figure": {"name": "tab-accuracy", "caption": "Accuracy on the test images, beside Table 4.1 of Gardner (2022).", "caption_before": true, "classes": "numbered-table"}}
ensemble = study.ensemble(place, device=device)
last = history.groupby("model", sort=False)["test_accuracy"].last() * 100
own, student = last[study.components(place)], last.get(study.distilled(place))
right, together = right_answers(place, dataset, device=device), None
if ensemble is not None:
    together = 100 * right.loc[right["kind"] == "ensemble", "right"].mean()
accuracy = study.accuracy_table(place, last, together)
place.write_csv(accuracy, "accuracy")
place.write_csv(last.rename("accuracy (%)").reset_index(), "accuracy_by_network")
if (reading := verdicts.which_optimiser(accuracy, optimiser, max_lr)) is not None:
    print(reading)
accuracy.round(2)

# %% [markdown]
# How sure is that? With 95 % intervals over test images, and the differences image by image: two networks meet the same
# easy and hard images, so their difference is known better than either accuracy.

# %% mystnb={"figure": {"name": "tab-accuracy-kinds", "caption": "Accuracy of each kind of network.", "caption_before": true, "classes": "numbered-table"}}
by_kind, differences = gaps.accuracy_by_kind(right), gaps.in_accuracy(right)
place.write_csv(by_kind, "accuracies")
place.write_csv(differences, "accuracy_gaps")
display(by_kind.round(4))

# %% mystnb={"figure": {"name": "tab-accuracy-gaps", "caption": "Differences of accuracy, image by image.", "caption_before": true, "classes": "numbered-table"}}
display(differences.drop(columns="target").round(4))

# %% [markdown]
# What this says, checked again whenever the notebook is tested:

# %% tags=["nbval-check-output"]
if ensemble is not None:
    print("the ensemble is more accurate than the mean component by at least 1.5 points:", together - own.mean() >= 1.5)
if ensemble is not None and student is not None:
    print("the distilled network is more accurate than the mean component:", student > own.mean())
