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
# A map has *arrived* at the first epoch at which it is as similar to the same network's final map as T_c asks. The
# cumulative share of maps that have arrived shows how features settle: a steep part in which many maps arrive, then a
# bend, after which the rest trickles in. Gardner (2022) reads the part after the bend as memorising.

# %% tags=["parameters"]
run: str = "runs/quick"  # folder of the run
threshold: float | None = None  # T_c in [-1, 1]; None takes the one of threshold_determination

# %% tags=["hide-input"]

from kd_lib import charts, learning, parameters, store, study

parameters.check(globals())

# %%
place = store.Run(run)
t_c, source = study.threshold(place, threshold)
labels = study.labels(place)
models = study.explained_at_every_epoch(place)
print(f"T_c = {t_c:.2f} ({source}); networks with maps of every epoch: {', '.join(models) or 'none'}")

# %% [markdown]
# ## All classes
#
# *On target* maps explain the image's own class, *off target* maps the nine others.

# %%
similarity = {name: study.similarity_to_final(place, name) for name in models}
curves = learning.curves_of(similarity, labels, t_c)
curves["target"] = curves["on_target"].map({True: "on target", False: "off target"})
place.write_csv(curves, "rq1_curves")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-cumulative", "caption": "Share of maps that have reached the threshold, by epoch; thin lines are single networks, the thick ones their mean. The last point is one by construction: a final map equals itself."}}
charts.cumulative_share(
    curves,
    title="Share of maps that have reached T_c, by epoch",
    description="Cumulative share of maps above the threshold by epoch, on and off target, for every network.",
)

# %% [markdown]
# ## Class by class
#
# The bends are found by fitting a continuous piecewise-linear curve, its number of pieces chosen by the Bayesian
# information criterion. A bend at which the slope falls is a *transition*: its epoch is the onset, and what is still to
# come after it the proportion memorised. A class may have a second one.

# %%
by_class = study.named(learning.curves_of(similarity, labels, t_c, per_class=True), place)
onsets = learning.transitions_by(by_class, ["model", "class", "target"])
place.write_csv(by_class, "rq1_curves_by_class")
place.write_csv(onsets, "rq1_transitions")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-by-class", "caption": "The same by class, for the first network; dashed lines mark the transitions."}}
charts.cumulative_by_class(
    by_class[by_class["model"].isin(models[:1])],
    onsets[onsets["model"].isin(models[:1])],
    title=f"Share of maps that have reached T_c by epoch and class, network {', '.join(models[:1])}",
    description="Cumulative share of maps above the threshold by epoch, one panel a class, with onsets.",
)

# %% [markdown]
# Onsets of the on-target curves, every network, first and second transitions (Gardner 2022, Table 4.2, gives one
# network's). A dash means that the curve has no such bend.

# %%
on_target = onsets[onsets["target"] == "on target"]
summary = on_target.pivot_table(
    index="class", columns=["transition", "model"], values=["onset", "proportion_memorised"]
)
summary.round(2).astype(object).where(summary.notna(), "–")

# %% tags=["nbval-check-output"]
final = curves.groupby(["model", "on_target"])["share"].last()
first = curves[curves["epoch"] == 0].set_index("on_target")["share"]
middle = curves[curves["epoch"] == curves["epoch"].max() // 2].groupby("on_target")["share"].mean()
if models:
    print("hardly any map of an untrained network has arrived:", bool((first < 0.2).all()))
    print(
        "half-way through training more on-target than off-target maps have arrived:",
        bool(middle[True] > middle[False]),
    )
