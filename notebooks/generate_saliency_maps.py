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
# # Generate the saliency maps
#
# A patch is moved over the image; how far the score of a class falls while the patch hides a place is how much that
# place counts {cite}`zeiler2014visualizing`. What is computed and stored here, once, is the network's output on every
# occluded image. All maps of this book, those of the ensemble included, are sums and differences of these numbers.

# %% tags=["parameters"]
run: str = "runs/quick"  # folder of the run, made by train_models
patch: int = 4  # side of the occluding square, in pixels
stride: int = 2  # step from one position of the square to the next, in pixels
baseline: float | str = 0.0  # of hidden pixels, normalised; 0: the data set's mean colour; mean | blur: of each image
every_epoch: int | None = None  # components of which every epoch is explained (RQ1), the others' last; None: all
example: int = 0  # probe image shown in the galleries
device: str = "auto"  # auto | cpu | cuda
precision: str = "float32"  # float32 | bfloat16 | auto (bfloat16 where the hardware has it)
executor: str = "local:2"  # empty (this process) | local:N (worker processes) | a Dask scheduler's address (tcp://…)

# %% tags=["hide-input"]
import time
from functools import partial

from kd_lib import _workers
from kd_lib.figures import pictures
from kd_lib.maps import attributions, fill, occlusion, store
from kd_lib.networks import training
from kd_lib.study import parameters, reading, truth
from kd_lib.study.run import Run

parameters.check(globals())

# %% [markdown]
# ## Occluded logits
#
# One row of the store is a *state*: a network after some number of epochs. A run that was interrupted goes on here
# with what is missing or damaged.

# %%
place = Run(run)
dataset = reading.load_data(place)
probe = dataset.probe
states = reading.states(place, every_epoch)
explained = store.MapStore.create(
    place.occlusion,
    states=states,
    labels=probe.labels,
    index=probe.index,
    class_names=dataset.class_names,
    image_size=tuple(probe.images.shape[-2:]),
    patch=patch,
    stride=stride,
    baseline=baseline,
    precision=occlusion.pick_precision(precision, training.pick_device(device)),
)
place.record("occlusion", explained.settings)

# %%
started = time.perf_counter()
with _workers.connect(executor) as client:
    load = partial(reading.network, place, device=device)
    blocks = fill.fill(explained, load, probe.images, normalise=dataset.normaliser, client=client)
if blocks:
    place.record("seconds_occlusion", round(time.perf_counter() - started, 1))
dict(store.open_logits(place.occlusion).sizes)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-gallery", "caption": "Maps of one probe image: a row a network, a column a class. The ensemble's map is the mean of the components' maps, exactly, since the map is linear in the outputs."}}
names = reading.networks(place)
outputs = reading.final_outputs(place, example)
label = dataset.class_names[probe.labels[example]]
pictures.map_grid(
    [(name, probe.images[example], reading.saliency_maps(place, values)) for name, values in outputs.items()],
    dataset.class_names,
    title=f"One image of {label}: the maps of every network for every class",
    description=f"Saliency maps of one image of {label}, one row a network and one column a class.",
)

# %% [markdown]
# ## Size of the patch
#
# A small patch hides too little for the network to notice; a large one blurs the map. As Gardner (2022, Fig. 3.2) does,
# the book uses 4 pixels unless a parameter says otherwise.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-patches", "caption": "The image explained with patches of four sizes for the true class, by three of the networks."}}
step = max(1, min(probe.images.shape[-2:]) // 32)
patches = [step * size for size in (1, 2, 4, 8)]
one, target = dataset.normalise(probe.images[example : example + 1]), int(probe.labels[example])
rows = []
for name in names[:3]:
    net = reading.network(place, name, device=device)
    own = [attributions.occlusion_map(net, one, target, patch=size, stride=step) for size in patches]
    rows.append((name, probe.images[example], own))
pictures.map_grid(
    rows,
    [f"{size} × {size}" for size in patches],
    title="One image explained with patches of four sizes",
    description="Maps of one image by three networks with patches of one, two, four and eight pixels.",
    shared=False,
)

# %% [markdown]
# ## Other methods
#
# Occlusion beside three gradient-based attributions (Gardner 2022, Fig. 3.1), as Captum {cite}`kokhlikyan2020captum`
# computes them. Only Occlusion is linear in the network's output, which is what makes an ensemble's map the mean of its
# components' maps. GradCAM looks at the last layer that still tells places apart, which at 32 pixels is not the last one.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-methods", "caption": "Four attribution methods on the same network, for the true class of four images. Each map has a scale of its own."}}
net = reading.network(place, names[0], device=device)
shown = [int((probe.labels == k).nonzero()[0]) for k in range(min(4, len(dataset.class_names)))]
methods = [
    attributions.methods(net, pixels[None], int(probe.labels[i]), patch=patch, stride=stride)
    for i, pixels in zip(shown, dataset.normalise(probe.images[shown]), strict=True)
]
pictures.map_grid(
    [
        (dataset.class_names[probe.labels[i]], probe.images[i], list(found.values()))
        for i, found in zip(shown, methods, strict=True)
    ],
    list(methods[0]),
    title="Four attribution methods on one network",
    description="Maps by Occlusion, Saliency, Deconvolution and GradCAM for four images.",
    shared=False,
)

# %% [markdown]
# ## Ground truth by intervention
#
# Multi-view images can be drawn again without one view. What every state answers then is kept for later: it says which
# views a network really uses, and since when. Photographs offer nothing of the kind.

# %%
if truth.known(place):
    truth.save_view_logits(place, dataset, states, load)

# %% [markdown]
# What this notebook leaves behind, checked whenever it is tested:

# %% tags=["nbval-check-output"]
print("every planned state is stored:", not explained.missing())
print("every block matches its checksum:", not explained.damaged())
