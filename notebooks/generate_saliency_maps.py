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
from kd_lib import figures, study

study.parameters.check(globals())

# %% [markdown]
# ## Occluded logits
#
# One row of the store is a *state*: a network after some number of epochs. A run that was interrupted goes on here
# with what is missing or damaged.

# %%
here = study.open(run)
here.check_image(example)
states = study.pipeline.states(here, every_epoch)
settings = {"patch": patch, "stride": stride, "baseline": baseline, "precision": precision}

# %%
store = study.pipeline.explain(here, states, settings, device=device, executor=executor)
dict(here.logits.sizes)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-gallery", "caption": "Maps of one probe image: a row a network, a column a class. The ensemble's map is the mean of the components' maps, exactly, since the map is linear in the outputs."}}
label, picture = here.class_names[here.labels[example]], here.dataset.probe.images[example]
figures.map_grid(
    [(name, picture, here.maps(name)[example]) for name in here.with_ensemble],
    here.class_names,
    title=f"One image of {label}: the maps of every network for every class",
    description=f"Saliency maps of one image of {label}, one row a network and one column a class.",
)

# %% [markdown]
# ## Size of the patch
#
# A small patch hides too little for the network to notice; a large one blurs the map. As Gardner (2022, Fig. 3.2) does,
# the book uses 4 pixels unless a parameter says otherwise.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-patches", "caption": "The image explained with patches of four sizes for the true class, by three of the networks."}}
rows, patches = study.gallery.patches(here, example, device=device)
figures.map_grid(
    rows,
    patches,
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
rows, methods = study.gallery.methods(here, device=device)
figures.map_grid(
    rows,
    methods,
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
if here.drawn:
    study.truth.remove_views(here, states, device=device)

# %% [markdown]
# What this notebook leaves behind, checked whenever it is tested:

# %% tags=["nbval-check-output"]
print("every planned state is stored:", not store.missing())
print("every block matches its checksum:", not store.damaged())
