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

from kd_lib.figures import charts
from kd_lib.measures import bounds as references
from kd_lib.measures import gaps, similarity, statistics, transfer, views
from kd_lib.measures import utilisation as utilisations
from kd_lib.measures.threshold import PUBLISHED
from kd_lib.people import annotate, features
from kd_lib.study import parameters, reading, truth
from kd_lib.study.run import Run

parameters.check(globals())

# %%
place = Run(run)
t_c, source = reading.threshold(place, threshold)
labels = reading.labels(place)
names = reading.compared(place)
print(f"T_c = {t_c:.2f} ({source}); networks: {', '.join(names)}")

# %% [markdown]
# ## How similar are the maps of two components?

# %% mystnb={"figure": {"name": "tab-pairs", "caption": "Share of the pairs of components whose maps are more similar than the threshold.", "caption_before": true, "classes": "numbered-table"}}
numbered = similarity.pairs_of_components([reading.maps(place, name) for name in names], labels, models=names)
pairs = reading.named(numbered, place)
pairs["pair"] = pairs["model_a"] + " – " + pairs["model_b"]
shares = transfer.shares_above(pairs, t_c, by=["target"])
by_pair = transfer.shares_above(pairs, t_c, by=["pair", "target"])
place.write_csv(shares, "rq2_shares")
place.write_csv(by_pair, "rq2_shares_by_pair")
shares.set_index("target").round(3)

# %% [markdown]
# What do such similarities mean? The figure shows them between two bands. The *floor* is what maps have in common that
# should share no feature: those of one network for another image of the class, for another class, before training, and
# beside a network that learnt labels in random order. The *ceiling* is what the last two epochs of one network have in
# common. The numbers behind the bands follow further down.

# %% tags=["hide-input"]
bounds = reading.references_of(place)
bands = references.bands(bounds)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-pairs", "caption": "Similarity of the maps of every two components, by class: median, quartiles, and the 5th and 95th percentile. Grey: the middle half of the floors, and of the ceiling."}}
charts.boxes(
    statistics.quantiles(pairs, "pearson", by=["class", "target"]).assign(kind="component"),
    group="class",
    colour="kind",
    value_title="Pearson similarity",
    title="Similarity of the maps of two components, by class",
    description="Box plots of the similarity of the maps of two components, by class, on and off target.",
    bands=bands,
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
# The share of maps above T_c where no feature is shared is the share to expect of any comparison by chance; where
# nearly everything is, the most to expect. Untrained networks and last epochs are known of the networks that are
# explained at every epoch, shuffled labels where the run has such a network.

# %% mystnb={"figure": {"name": "tab-bounds", "caption": "Floors and ceilings of that share.", "caption_before": true, "classes": "numbered-table"}}
table = transfer.shares_above(bounds, t_c, by=["kind", "target"])
means = bounds.groupby(["kind", "target"], sort=False)["pearson"].mean().rename("mean similarity").reset_index()
table = table.merge(means, on=["kind", "target"])
place.write_csv(table, "rq2_references")
table.drop(columns=["undefined"]).set_index(["kind", "target"]).round(3)

# %% [markdown]
# ## Does the threshold matter?
#
# T_c is uncertain. Here it runs from 0 to 0.95; dashed are the one of this run and the published one, 0.53.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-pair-sweep", "caption": "Share of maps of two components that are more similar than the threshold, for every threshold, beside the floors and the ceiling."}}
sweep = pd.concat(
    [
        transfer.shares_by_threshold(pairs, by=["target"]).assign(kind="component"),
        transfer.shares_by_threshold(bounds.assign(kind=references.band_of(bounds["kind"])), by=["kind", "target"]),
    ]
)
place.write_csv(sweep, "rq2_sweep")
charts.threshold_sweep(
    sweep,
    [t_c, PUBLISHED],
    colour="kind",
    title="Share of pairs of components above the threshold, as it runs from 0 to 0.95",
    description="Share of maps of two components above the threshold by threshold, with floors and ceiling.",
)

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
asked = reading.annotations(place)
if annotated := annotated_class or next((c for c in asked.class_names if features.default_features(asked, c)), None):
    images, maps = reading.load_data(place).probe.images.numpy(), {n: reading.maps(place, n) for n in asked.models}
    display(annotate.annotate_features(asked, images, maps, annotated, annotator=annotator))
else:
    print("No class of this run has a list of features: give one to people.annotate_features.")

# %%
for title, table in features.feature_agreement(asked).items():
    print(f"{title}: Krippendorff's alpha of {table['annotators']} annotators {table['alpha']:.2f}")
    display(table["kappas"].round(3))

# %%
utilisation, feature_source = truth.utilisation(place, reading.networks(place))
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
    matrix = utilisations.cosine_matrix(pd.concat(utilisation.values(), axis=1))
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
# On multi-view images both are known. For images in which a network uses at least one view: `hit` is the share of maps
# whose maximum lies in a view that the network uses (the pointing game {cite}`zhang2016topdown`), `mass` the share of
# positive attribution that lies in such views, and `area` the share of the image that they cover, which is what a map of
# noise would get of both. `agreement` is the share of the views present for which the map shows what the network uses.

# %% mystnb={"figure": {"name": "tab-view-use", "caption": "What maps show and what networks use, by network.", "caption_before": true, "classes": "numbered-table"}}
if truth.known(place):
    use = truth.view_use(place, view_share=view_share)
    place.write_csv(use, "rq2_view_use")
    columns = ["importance", "hit", "mass", "area", "agreement"]
    display(statistics.interval_table(use, columns, by="network", clusters="image"))
else:
    print("Nobody knows which features these networks use: that takes images that can be drawn without one.")

# %% [markdown]
# Does *above T_c* mean *the same views*? Every pair of maps of two components, by what the networks do and by what T_c
# says. `precision` is the share of the pairs above T_c whose networks use the same views, `recall` the share of pairs
# with the same views that are above T_c, `baseline` the accuracy of always giving the commoner answer.

# %% mystnb={"figure": {"name": "tab-confusion", "caption": "Pairs of maps, by what the networks do and what the threshold says.", "caption_before": true, "classes": "numbered-table"}}
if truth.known(place):
    same = truth.same_views(place, numbered, view_share=view_share)
    above = (pairs["pearson"] >= t_c).to_numpy()
    chosen = {name: (pairs["target"] == name).to_numpy() for name in ("on target", "off target")}
    confusion = pd.DataFrame({name: views.confusion(same[rows], above[rows]) for name, rows in chosen.items()}).T
    place.write_csv(confusion.rename_axis("target").reset_index(), "rq2_confusion")
    display(confusion.map(lambda value: round(value, 3)))

# %% [markdown]
# ## How many views does each network know?
#
# The multi-view theory {cite}`allenzhu2020towards` says that a single network learns some of a class's views and does
# without the rest; that the ensemble has those of all its members; and that a distilled network has learnt them too. Then
# a network fails on images that show a single view which it has not learnt. `used` is the number of views of its class
# that a network uses in a probe image, by intervention (an ensemble or a distilled network may use more of them than a
# component); `single-view accuracy` its accuracy on test images with one view of their class; `views known` the number of
# views on which that accuracy is above one half.

# %% mystnb={"figure": {"name": "tab-views-known", "caption": "Views that each network uses and knows.", "caption_before": true, "classes": "numbered-table"}}
if truth.known(place):
    answers = truth.single_view_answers(place, reading.load_data(place))
    by_view = answers.groupby(["network", "class", "view"], sort=False)["right"].agg(["mean", "size"]).reset_index()
    place.write_csv(by_view.rename(columns={"mean": "accuracy", "size": "images"}), "rq2_views_known")
    known = by_view.assign(known=by_view["mean"] > 0.5).groupby("network", sort=False)["known"].sum()
    numbers = statistics.interval_table(use, ["used"], by="network", clusters="image")
    numbers = numbers.join(
        statistics.interval_table(
            answers.rename(columns={"right": "single-view accuracy"}),
            ["single-view accuracy"],
            by="network",
            clusters="image",
        )
    )
    numbers["views known"] = known.map(lambda n: f"{n} of {len(by_view) // len(known)}")
    display(numbers)

# %% [markdown]
# The differences that the theory is about, with intervals over the same images; and by how much the pointing game beats
# chance (`hit` less `area`), the mean over networks.

# %% mystnb={"figure": {"name": "tab-view-gaps", "caption": "Differences in the views used and known.", "caption_before": true, "classes": "numbered-table"}}
if truth.known(place):
    single = answers.rename(columns={"right": "single-view accuracy"})
    view_gaps = gaps.of_views(use, single, reading.components(place), reading.distilled(place))
    place.write_csv(view_gaps, "rq2_view_gaps")
    display(view_gaps.set_index(["what", "less", "target"]).round(3))

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-views-known", "caption": "Accuracy of every network on test images that show a single view of their class, view by view."}}
if truth.known(place):
    class_names = place.entry("class_names")
    cells = by_view.assign(
        view=[f"{class_names[k]} view {v + 1}" for k, v in zip(by_view["class"], by_view["view"], strict=True)]
    )
    display(
        charts.heat_map(
            cells,
            x="network",
            y="view",
            value="mean",
            title="Accuracy on images with one view of their class",
            description="Heat map of the accuracy of every network on single-view images, one row a view.",
        )
    )
else:
    print("These images have no views.")

# %% tags=["nbval-check-output"]
share = shares.set_index("target")["share"]
if share.notna().all() and len(share) == 2:
    print("the share of on-target pairs above T_c is clearly below 1 (under 0.95):", bool(share["on target"] < 0.95))
    print("components agree more on target than off target:", bool(share["on target"] > share["off target"]))
else:
    print("No two networks whose maps can be compared.")
