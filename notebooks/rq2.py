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
# # RQ2: do the components use different features?
#
# An ensemble can only be worth more than its components if they differ. Two views of that: how similar the maps of two
# components are, and which features each network's maps show. Networks of somebody's own are compared in the same way.

# %% tags=["parameters"]
run: str = "runs/quick"  # folder of the run
threshold: float | None = None  # T_c in [-1, 1]; None takes the one of threshold_determination
view_share: float = 0.5  # multiview: a view is used if it matters this share of what the one that matters most does
annotator: str = ""  # your name, to say which features maps show (in JupyterLab, Notebook 7 or VS Code)
annotated_class: str = ""  # the class whose maps you look at; empty: the first one that has a list of features

# %% tags=["hide-input"]
import pandas as pd

from kd_lib import annotation, charts, features, parameters, people, statistics, store, study, transfer

parameters.check(globals())

# %%
place = store.Run(run)
t_c, source = study.threshold(place, threshold)
labels = study.labels(place)
names = study.compared(place)
print(f"T_c = {t_c:.2f} ({source}); networks: {', '.join(names)}")

# %% [markdown]
# ## How similar are the maps of two components?

# %%
pairs = features.pairs_of_components([study.maps(place, name) for name in names], labels, models=names)
pairs = study.named(pairs, place)
pairs["pair"] = pairs["model_a"] + " – " + pairs["model_b"]
shares = transfer.shares(pairs, t_c, by=["target"])
by_pair = transfer.shares(pairs, t_c, by=["pair", "target"])
place.write_csv(shares, "rq2_shares")
place.write_csv(by_pair, "rq2_shares_by_pair")
shares.set_index("target").round(3)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-pairs", "caption": "Similarity of the maps of every two components, by class: median, quartiles, and the 5th and 95th percentile."}}
charts.boxes(
    statistics.quantiles(pairs, "pearson", by=["class", "target"]).assign(kind="component"),
    group="class",
    colour="kind",
    value_title="Pearson similarity",
    title="Similarity of the maps of two components, by class",
    description="Box plots of the similarity of the maps of two components, by class, on and off target.",
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-pair-shares", "caption": "Share of maps of each pair of components that are more similar than the threshold, with 95 % intervals from a bootstrap over images."}}
charts.intervals(
    by_pair.assign(kind="component"),
    group="pair",
    colour="kind",
    value_title="share of maps above T_c",
    title="Share of maps above T_c, by pair of components",
    description="Share of maps above the threshold for every pair of components, on and off target.",
)

# %% [markdown]
# ## Floors and ceilings
#
# What do these similarities mean? Below are maps that should have nothing in common: one network's maps of another image
# of the class, its maps of the same image for another class, and the maps of an untrained network. Above are maps that
# should be nearly the same, those of a network's last two epochs (networks explained at every epoch only).

# %%
references = study.references_of(place)
bounds = transfer.shares(references, t_c, by=["kind", "target"])
means = references.groupby(["kind", "target"], sort=False)["pearson"].mean().rename("mean similarity").reset_index()
bounds = bounds.merge(means, on=["kind", "target"])
place.write_csv(bounds, "rq2_references")
bounds.drop(columns=["undefined"]).set_index(["kind", "target"]).round(3)

# %% [markdown]
# ## Which features does each network's map show?
#
# *Utilisation* of a feature is the number of maps that show it over the number of images in which it is visible. The
# features are those that people ticked, where the run's `annotations/` holds their tables; on multi-view images they
# are the views, and a map shows a view that draws more than twice its share of the positive attribution.
#
# With your name as the parameter `annotator` the next cell asks you, image by image: which features are visible, and
# which of them each network's map marks. {doc}`../book/annotation_guide` says how to judge.

# %%
if annotated := annotated_class or next(
    (c for c in place.entry("class_names") if annotation.default_features(place, c)), None
):
    display(annotation.annotate_features(place, annotated, annotator=annotator))
else:
    print("No class of this run has a list of features: give one to annotation.annotate_features.")

# %%
for title, table in people.feature_agreement(place).items():
    print(f"{title}: Krippendorff's alpha of {table['annotators']} annotators {table['alpha']:.2f}")
    display(table["kappas"].round(3))

# %%
utilisation, feature_source = study.utilisation(place, study.networks(place))
print("features:", feature_source)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-utilisation", "caption": "Utilisation of each feature by each network."}}
if utilisation:
    cells = pd.concat(
        [u.melt(ignore_index=False, var_name="feature", value_name="utilisation") for u in utilisation.values()]
    )
    display(
        charts.heat_map(
            cells.reset_index(names="network"),
            x="network",
            y="feature",
            value="utilisation",
            title="Utilisation of every feature by every network",
            description="Heat map of the utilisation of every feature by every network.",
        )
    )
else:
    print("Nobody has said which features these maps show, and nothing is invented: no figure.")

# %% [markdown]
# ## How alike are the networks' utilisation vectors?

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-utilisation-cosine", "caption": "Cosine similarity of the utilisation vectors of every two networks."}}
if utilisation:
    matrix = features.cosine_matrix(pd.concat(utilisation.values(), axis=1))
    cells = matrix.rename_axis("network").melt(ignore_index=False, var_name="other network", value_name="cosine")
    place.write_csv(cells.reset_index(), "rq2_cosine")
    display(
        charts.heat_map(
            cells.reset_index(),
            x="other network",
            y="network",
            value="cosine",
            title="Cosine similarity of the networks' utilisation vectors",
            description="Cosine similarity of the utilisation vectors of every two networks.",
        )
    )
else:
    print("No utilisation, no matrix.")

# %% [markdown]
# ## What the maps show and what the networks use
#
# On multi-view images both are known. `mean importance` is how far the class's logit falls when one of its views is
# removed; `used` is the share of the views present that the network uses by the criterion of the last chapter, `shown`
# the share that its map marks, and `agreement` the share of views for which the two say the same.

# %%
use = study.view_use(place, view_share=view_share)
if use is not None:
    place.write_csv(use, "rq2_view_use")
    display(use.set_index("network").round(3))

# %% tags=["nbval-check-output"]
on_target = shares.set_index("target")["share"]["on target"]
print("the share of on-target pairs above T_c is clearly below 1 (under 0.95):", bool(on_target < 0.95))
print(
    "components agree more on target than off target:",
    bool(shares.set_index("target")["share"].idxmax() == "on target"),
)
