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
max_lr: float = 0.05  # peak of the learning rate
schedule: str = "one-cycle"  # of the learning rate: one-cycle | constant (half of the peak)
momentum: float = 0.9  # of SGD; beta_1 of Adam
weight_decay: float = 5e-4  # L2 penalty
flip: bool = False  # mirror images at random
crop_padding: int = 2  # random shifts by up to this many pixels
ensemble_output: str = "logits"  # what the ensemble averages: logits | probs
temperature: float = 4.0  # of the soft targets
hard_weight: float = 0.0  # weight of the true labels in the distillation loss
students: int = 1  # that the ensemble teaches, from different seeds; from three on a claim about students counts them
controls: bool = True  # also train the networks that say what a similarity means
techniques: list = []  # also train: plain, label-smoothing, ricap, mixup, cutmix, self-distillation, adam, constant-rate
technique_seeds: int = 1  # networks that each technique trains, of different seeds
seed: int = 0  # of the samples, and of the networks
device: str = "auto"  # auto | cpu | cuda
precision: str = "float32"  # float32 | bfloat16
executor: str = "local:2"  # empty (this process) | local:N (worker processes) | a Dask scheduler's address (tcp://…)
recompute: bool = False  # train anew, whatever is stored

# %% tags=["hide-input"]
import pandas as pd

from kd_lib import figures, study

chosen = study.parameters.chosen(globals())

# %% [markdown]
# ## Data
#
# The *probe* is taken out of the test images: those are the images that the saliency maps explain, and no accuracy is
# ever measured on them.

# %%
dataset = study.images(chosen)
pd.Series({"training images": len(dataset.train), "test images": len(dataset.test), "probe images": len(dataset.probe)})

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-samples", "caption": "Training images of each class, as the networks see them before augmentation."}}
figures.image_grid(
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
study.training.regime_table(chosen)

# %% [markdown]
# ## Training
#
# A run folder belongs to one set of parameters; with others, the next cell refuses to go on. Whatever is trained
# already is kept, and an interrupted training goes on after its last full epoch.

# %%
here = study.pipeline.begin(run, chosen, dataset)

# %% [markdown]
# The distilled network has the same architecture and a fresh seed. Its targets are the ensemble's outputs on the very
# batch that it sees, augmentation included, softened by the temperature {cite}`hinton2015distilling`; it is never
# shown a label unless `hard_weight` asks for it. One student says little of others: `students` asks for more, of other
# seeds, and RQ3 says what holds of all of them.
#
# Three more networks are controls, which later chapters compare with: one trained on labels in random order
# {cite}`adebayo2018sanity`, whose maps cannot show what the classes look like, and two *half-taught* students, distilled
# from one half of the components each, so that the other half is an ensemble that did not teach it.
#
# Where `techniques` names some, as the profile `full` does, each trains more networks with the same budget and without the
# ensemble: plainly on the labels, by one of four ways to change labels or images, by Adam, at a constant learning rate, or
# distilled from one component. RQ3 asks which comes closest to the distilled network, and RQ1 whether maps settle because
# the learning rate falls.

# %%
history = study.pipeline.train(here, executor=executor, device=device, recompute=recompute)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-training", "caption": "Loss and accuracy by epoch. The distilled network's loss is its distance to the ensemble (scaled by the squared temperature), so the two kinds of loss are not comparable; mixed images and changed labels raise the loss, too."}}
figures.training_curves(
    study.training.curves(here, history),
    title="Loss and accuracy of every network by epoch",
    description="Training loss and test accuracy of every network by epoch.",
)

# %% [markdown]
# ## Accuracy
#
# Measured on the test images without the probe. The last column is what Gardner (2022, Table 4.1) found with ten
# ResNet18 on CIFAR-10.

# %% mystnb={"figure": {"name": "tab-accuracy", "caption": "Accuracy on the test images, beside Table 4.1 of Gardner (2022).", "caption_before": true, "classes": "numbered-table"}}
right = study.training.right_answers(here, device=device)
accuracy = study.training.accuracy_table(here, history, right)
if (reading := study.training.which_optimiser(accuracy, optimiser, max_lr)) is not None:
    print(reading)
accuracy.round(2)

# %% [markdown]
# How sure is that? With 95 % intervals over test images, and the differences image by image: two networks meet the same
# easy and hard images, so their difference is known better than either accuracy.

# %% mystnb={"figure": {"name": "tab-accuracy-kinds", "caption": "Accuracy of each kind of network.", "caption_before": true, "classes": "numbered-table"}}
by_kind, differences = study.training.by_kind(here, right)
display(by_kind.round(4))

# %% mystnb={"figure": {"name": "tab-accuracy-gaps", "caption": "Differences of accuracy, image by image.", "caption_before": true, "classes": "numbered-table"}}
display(differences.drop(columns="target").round(4))

# %% [markdown]
# Drawn images are of two kinds: a few of the training images show one view of their class, and more of the test images do,
# since these tell which views a network has learnt. What an accuracy is made of says how hard either kind is.

# %% mystnb={"figure": {"name": "tab-accuracy-views", "caption": "Accuracy on test images that show one view of their class, and on those that show several.", "caption_before": true, "classes": "numbered-table"}}
by_views = study.training.by_views(here, right)
by_views.round(1) if len(by_views) else print("These images have no views.")

# %% [markdown]
# What this says, checked again whenever the notebook is tested:

# %% tags=["nbval-check-output"]
for line in study.training.checks(accuracy):
    print(line)
