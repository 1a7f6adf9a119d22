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
# # RQ1: when are the features learnt?
#
# A map has *arrived* when it is as similar to the same network's final map as T_c asks: for the *first* time, or
# *lasting*, from an epoch on after which it never falls back. The cumulative share of maps that have arrived shows how
# features settle: a steep part in which many maps arrive, then a bend, after which the rest trickles in. Gardner (2022)
# reads the part after the bend as memorising, from one network. Here every component is watched.
#
# With the last epoch every map arrives, because it is then compared with itself. That says nothing of learning, so a map
# that has not arrived earlier counts as *censored*: it takes longer than was watched.

# %% tags=["parameters"]
run: str = "runs/quick"  # folder of the run
threshold: float | None = None  # T_c in [-1, 1]; None takes the one of threshold_determination
view_share: float = 0.5  # multiview: a view is used if it matters this share of what the one that matters most does

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from kd_lib import figures, study

chosen = study.parameters.chosen(globals())

# %%
here = study.open(run, threshold=threshold, chosen=chosen)
models = here.explained_at_every_epoch
print(f"T_c = {here.t_c:.2f} ({here.source}); networks with maps of every epoch: {', '.join(models) or 'none'}")

# %% [markdown]
# ## When do maps arrive?
#
# *On target* maps explain the image's own class, *off target* maps the other classes. `median` is the epoch by which half
# of the maps have arrived, by the product-limit estimate {cite}`kaplan1958nonparametric`; `share` is what has arrived
# half-way through training; `censored` is the share of maps that arrive with the last epoch only, or never, since
# a constant map has no similarity (`undefined`). Intervals are of a bootstrap over images.

# %% mystnb={"figure": {"name": "tab-crossing-times", "caption": "When maps arrive, by network.", "caption_before": true, "classes": "numbered-table"}}
similarity = study.rq1.similarity_to_final(here)
arrivals = study.rq1.arrivals(here, similarity)
times = study.rq1.crossing_times(arrivals)
here.keep(times, "rq1_crossing_times")
columns = ["median", "median_low", "median_high", "share", "low", "high", "censored", "undefined"]
times.set_index(["target", "crossing", "model"])[columns].sort_index().round(3).replace(np.inf, "not seen")

# %%
for line in study.rq1.medians(times):
    print(line)

# %% [markdown]
# ## How fast do maps arrive, and how much do networks differ?

# %%
curves, bands = study.rq1.curves(here, arrivals)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-cumulative", "caption": "Share of maps that have arrived, by epoch. First panel: mean of the networks with the 95 % t interval of that mean (none for one network). Others: single networks with 95 % bootstrap intervals over images. At the last epoch all have arrived by construction."}}
figures.cumulative_share(
    pd.concat([bands.assign(panel="mean of networks"), curves.assign(panel="network " + curves["model"])]),
    title="By which epoch have maps come to look as they will in the end?",
    description="Cumulative share of maps that have arrived by epoch, for the first time and for good, on and off target.",
)

# %% [markdown]
# ## Class by class: where do the curves bend?
#
# A curve is described by straight pieces: between two knots maps arrive at a constant rate. The pieces are fitted by
# maximum likelihood, and their number is the one with the least Bayesian information criterion, which counts the images
# and not the epochs: points of a cumulative curve are not independent. A bend at which the slope falls is a *transition*:
# its epoch is the onset, and what is still to come after it the proportion memorised. The last epoch is left out. For the
# intervals the images are drawn again and the curve is fitted with as many pieces as before.

# %%
by_class, transitions, second = study.rq1.by_class(here, arrivals)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-by-class", "caption": "Share of maps that have arrived for the first time, by class: thin lines are networks, thick ones their mean; the dots are the first bend of each network's curve, and those after which it bends again once it has risen."}}
figures.cumulative_by_class(
    by_class[by_class["crossing"] == "first"],
    bends=study.rq1.named_bends(transitions),
    title="By which epoch have the maps of each class arrived?",
    description="Cumulative share of maps that have arrived by epoch, one panel a class, on and off target.",
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-onsets", "caption": "Onsets of the on-target curves of every network, with 95 % bootstrap intervals over images; the larger the dot, the more is still to come. A network without a dot has no bend that its images can show. *Again* is a fall of the slope after a rise: a second phase of learning."}}
on_target = study.rq1.on_target(transitions)
figures.onsets(
    on_target,
    title="At which epoch does learning of each class slow down?",
    description="Onset of each transition of every network's on-target curve with its interval, one panel a class.",
)

# %% [markdown]
# What is true of a class is read from the mean of the networks' curves: its first bend, with an interval that draws
# networks and images. `without` counts networks whose own curve has no bend that its images can show: it rises evenly, or
# too early to be seen. What comes after the bend can be called *memorised* only where the training images are fitted.

# %% mystnb={"figure": {"name": "tab-mean-onsets", "caption": "First bend of each class's mean curve, and the share of maps that is still to come after it.", "caption_before": true, "classes": "numbered-table"}}
mean_onsets = study.rq1.mean_onsets(here, arrivals)
print(study.rq1.fitted(here))
mean_onsets.set_index(["target", "class"]).sort_index(ascending=[False, True]).round(2)

# %% [markdown]
# Network by network: onset and share still to come, with intervals (the lowest and highest bound of any network's), and `support`, the share
# of resampled curves that have a transition as well: means over the networks that have one, and how many do. (Gardner
# 2022, Table 4.2, gives one network's.)

# %% mystnb={"figure": {"name": "tab-onsets", "caption": "Onset and share still to come, by class: means over networks.", "caption_before": true, "classes": "numbered-table"}}
onsets = study.rq1.onsets(on_target)
here.keep(onsets.reset_index(), "rq1_onsets")
onsets.round(2)

# %% [markdown]
# ## Is a second transition a property of the class, or of the network?
#
# Gardner (2022) reports second transitions for car, bird and deer, from one network. A curve has one here where its slope
# falls, rises and falls again; a network shows it where at least half of the resampled curves have it too. Several networks
# may agree on a class by chance. So suppose that each of them showed second transitions for as many classes as it does, but
# for classes that are drawn from a hat: `p` is how probable it then is that as many networks, or more, would agree on this
# class. The verdict is *class* if more than half of the networks have it (exact 95 % interval,
# {cite}`clopper1934use`) and p, after Holm's correction, is at most 0.05; *net* if it occurs but in less than half of them;
# *none* if it does not occur and the interval says as much; else *cannot tell*.

# %% mystnb={"figure": {"name": "tab-second", "caption": "Second transitions, by class.", "caption_before": true, "classes": "numbered-table"}}
verdicts, said = study.rq1.second_by_class(here, second)
print(said)
verdicts.set_index("class").round(3)

# %% [markdown]
# ## Do maps settle when the networks settle?
#
# On multi-view images the truth is known: which views of an image a network uses, epoch by epoch, by taking them away.
# Does a map arrive for good at the epoch from which on its network uses the views that it uses in the end?

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-settling", "caption": "Maps of the images' own class, all networks: the epoch at which the map arrives for good and the one at which the use of views settles; the larger the dot, the more maps. On the dashed line both happen at once."}}
if here.drawn and models:
    counts, said = study.rq1.settling(here, view_share=view_share)
    display(
        figures.settling(
            counts,
            title="Do maps settle when the use of views settles?",
            description="Epoch at which maps settle by the epoch at which the use of views does, sized by their number.",
        )
    )
    print(said)
else:
    print(
        "Nobody knows when these networks' use of features settles: it takes multi-view images and maps of all epochs."
    )

# %% [markdown]
# ## Do maps settle because the learning rate falls?
#
# The learning rate of a one-cycle schedule falls to zero, and with it what a network can still change. A network that
# learns at a constant rate, as high as the others' on average, tells what is left of the curves without that
# (`techniques: [constant-rate]`).

# %%
constant_rate, said = study.rq1.constant_rate(here, arrivals)
print(said)

# %% [markdown]
# ## Does the threshold matter?
#
# T_c is uncertain. Here it runs from 0 to 0.95; dashed are the one of this run and the published one, 0.53.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-arrival-sweep", "caption": "Share of maps that have arrived half-way through training, all networks, for every threshold."}}
figures.threshold_sweep(
    study.rq1.sweep(here, similarity),
    here.thresholds,
    colour="crossing",
    value_title="share arrived half-way through training",
    title="How much has arrived half-way, as the threshold runs from 0 to 0.95?",
    description="Share of maps that have arrived half-way through training by threshold, on and off target.",
)

# %% tags=["nbval-check-output"]
for line in study.rq1.checks(curves, times):
    print(line)
