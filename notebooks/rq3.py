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
# # RQ3: does the distilled network inherit the ensemble's features?
#
# If it does, its maps are closer to the ensemble's than those of a network trained alone. A component, though, is a
# part of the ensemble that it is compared with, which flatters it. So every component is also compared with the
# *leave-one-out* ensemble of the others; that is the fair opponent of the distilled network, which is in no ensemble.

# %% tags=["parameters"]
run: str = "runs/quick"  # folder of the run
threshold: float | None = None  # T_c in [-1, 1]; None takes the one of threshold_determination
example: int = 0  # probe image whose maps are compared one with another

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from kd_lib import charts, parameters, similarity, statistics, store, study, transfer

parameters.check(globals())

# %%
place = store.Run(run)
t_c, source = study.threshold(place, threshold)
labels, class_names = study.labels(place), place.entry("class_names")
names = study.components(place)
components = np.stack([study.occluded_outputs(place, name) for name in names])
distilled = study.occluded_outputs(place, "distilled")
print(f"T_c = {t_c:.2f} ({source}); components: {', '.join(names)}")

# %% [markdown]
# ## One image

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-one-image", "caption": "Pearson similarity of the maps of one image for its own class, between all networks and the ensemble."}}
own = np.stack([*components[:, example], components[:, example].mean(0), distilled[example]])
own = study.saliency_maps(place, own)[:, labels[example]]
who = [*names, "ensemble", "distilled"]
matrix = pd.DataFrame(similarity.pearson(own[:, None], own[None]), index=who, columns=who).rename_axis("network")
charts.heat_map(
    matrix.melt(ignore_index=False, var_name="other network", value_name="similarity").reset_index(),
    x="other network",
    y="network",
    value="similarity",
    diverging=True,
    title=f"Probe image {example}, {class_names[labels[example]]}: how alike the networks' maps are",
    description="Matrix of the Pearson similarity of the maps of one image between all networks.",
)

# %% [markdown]
# ## All images

# %%
frame = transfer.to_ensemble(
    components, distilled, labels, maps=lambda outputs: study.saliency_maps(place, outputs), models=names
)
frame["class"] = frame["target"].map(lambda k: class_names[k])
frame["target"] = frame["on_target"].map({True: "on target", False: "off target"})
shares = transfer.shares(frame, t_c, by=["kind", "target"])
means = frame.groupby(["kind", "target"], sort=False)["pearson"].mean().rename("mean similarity").reset_index()
summary = shares.merge(means, on=["kind", "target"])
place.write_csv(summary, "rq3_shares")
by_class = transfer.shares(frame, t_c, by=["kind", "class", "target"])
place.write_csv(by_class, "rq3_shares_by_class")
summary.set_index(["kind", "target"]).round(3)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-to-ensemble", "caption": "Similarity to the ensemble's maps by class: median, quartiles, and the 5th and 95th percentile. The components are shown as parts of the ensemble and with themselves left out of it."}}
charts.boxes(
    statistics.quantiles(frame, "pearson", by=["kind", "class", "target"]),
    group="class",
    colour="kind",
    value_title="Pearson similarity to the ensemble",
    title="Similarity to the ensemble's maps, by class",
    description="Box plots of the similarity to the ensemble's maps for components, leave-one-out and distilled.",
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shares", "caption": "Share of maps that are more similar to the ensemble's than the threshold, with 95 % intervals from a bootstrap over images."}}
charts.intervals(
    by_class,
    group="class",
    colour="kind",
    value_title="share of maps above T_c",
    title="Share of maps above T_c of similarity to the ensemble's",
    description="Share of maps above the threshold by class for components, leave-one-out and distilled.",
)

# %% [markdown]
# ## The answer
#
# Gardner (2022) found that from components to the distilled network the share above T_c rises from 78 % to 98 % on
# target and from 52 % to 87 % off target. The difference that counts is the one between the distilled network and
# leave-one-out; its interval below is from the same bootstrap over images.

# %%
gain = transfer.gain(frame)
place.write_csv(gain, "rq3_gain")
gain.set_index(["distilled less", "target"]).round(3)

# %% tags=["nbval-check-output"]
closer = means.pivot(index="target", columns="kind", values="mean similarity")
for target in ("on target", "off target"):
    row = closer.loc[target]
    print(
        f"{target}: the distilled network is closer to the ensemble than leave-one-out components:",
        bool(row["distilled"] > row["leave-one-out"]),
    )
