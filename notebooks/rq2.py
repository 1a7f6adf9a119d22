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
from kd_lib import figures, study

chosen = study.parameters.chosen(globals())

# %%
here = study.open(run, threshold=threshold, chosen=chosen)
print(f"T_c = {here.t_c:.2f} ({here.source}); networks: {', '.join(here.compared)}")

# %% [markdown]
# ## How similar are the maps of two components?

# %% mystnb={"figure": {"name": "tab-pairs", "caption": "Share of the pairs of components whose maps are more similar than the threshold.", "caption_before": true, "classes": "numbered-table"}}
pairs = study.rq2.pairs(here)
shares, by_pair = here.shares(pairs, by=["target"]), here.shares(pairs, by=["pair", "target"])
here.keep(shares, "rq2_shares")
here.keep(by_pair, "rq2_shares_by_pair")
shares.set_index("target").round(3)

# %% [markdown]
# What do such similarities mean? The figure shows them between two bands. The *floor* is what maps have in common that
# should share no feature: those of one network for another image of the class, for another class, before training, and
# beside a network that learnt labels in random order. The *ceiling* is what the last two epochs of one network have in
# common. The numbers behind the bands follow further down.

# %% tags=["hide-input"]
bounds = study.rq2.bounds(here)
bands = study.rq2.bands(bounds)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-pairs", "caption": "Similarity of the maps of every two components, by class: median, quartiles, and the 5th and 95th percentile. Grey: the middle half of the floors, and of the ceiling."}}
figures.boxes(
    study.rq2.quantiles(pairs),
    group="class",
    colour="kind",
    value_title="Pearson similarity",
    title="Similarity of the maps of two components, by class",
    description="Box plots of the similarity of the maps of two components, by class, on and off target.",
    bands=bands,
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-pair-shares", "caption": "Share of maps of each pair of components that are more similar than the threshold, with 95 % intervals from a bootstrap over images."}}
figures.intervals(
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
table = here.shares_and_means(bounds)
here.keep(table, "rq2_references")
table.drop(columns=["undefined"]).set_index(["kind", "target"]).round(3)

# %% [markdown]
# ## Are components less alike than maps of the same features?
#
# A share of pairs above T_c says little by itself: maps that show the same features do not all reach T_c, and the better
# part of some shares is only that. So the pairs are held against maps that do show the same. On drawn images these are the
# pairs whose networks use the same views, by intervention; elsewhere the last two epochs of one network, which differ by
# next to nothing. If components use different features, their pairs are alike less often.

# %% mystnb={"figure": {"name": "tab-differ", "caption": "Share of pairs of components above the threshold, less that of maps that show the same features.", "caption_before": true, "classes": "numbered-table"}}
differ = study.rq2.differ(here, pairs, bounds, view_share=view_share)
differ.set_index(["what", "less", "target"]).round(3)

# %% [markdown]
# ## Does the threshold matter?
#
# T_c is uncertain. Here it runs from 0 to 0.95; dashed are the one of this run and the published one, 0.53.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-pair-sweep", "caption": "Share of maps of two components that are more similar than the threshold, for every threshold, beside the floors and the ceiling."}}
sweep = study.rq2.sweep(pairs, bounds)
here.keep(sweep, "rq2_sweep")
figures.threshold_sweep(
    sweep,
    here.thresholds,
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
if (asked := study.rq2.ask(here, annotated_class, annotator=annotator)) is not None:
    display(asked)
else:
    print("No class of this run has a list of features: give one to people.annotate_features.")

# %%
for title, kappas in study.rq2.feature_agreement(here).items():
    print(title)
    display(kappas.round(3))

# %%
utilised, feature_source = study.rq2.utilised(here)
print("features:", feature_source)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-utilisation", "caption": "Utilisation of each feature by each network."}}
if utilised:
    display(
        figures.heat_map(
            study.rq2.utilisation_cells(utilised),
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
if utilised:
    display(
        figures.heat_map(
            study.rq2.cosines(here, utilised),
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
# noise would get of both. Noise is a weak opponent: `any view` is what a map would hit that points at a view of the image,
# whichever, and `untrained` what the map of the same network before its training hits. `agreement` is the share of the views present for which the map shows what the network uses.

# %% mystnb={"figure": {"name": "tab-view-use", "caption": "What maps show and what networks use, by network.", "caption_before": true, "classes": "numbered-table"}}
if here.drawn:
    use, table = study.rq2.view_use(here, view_share=view_share)
    display(table)
else:
    print("Nobody knows which features these networks use: that takes images that can be drawn without one.")

# %% [markdown]
# Does *above T_c* mean *the same views*? Every pair of maps of two components, by what the networks do and by what T_c
# says. `precision` is the share of the pairs above T_c whose networks use the same views, `recall` the share of pairs
# with the same views that are above T_c, `baseline` the accuracy of always giving the commoner answer.

# %% mystnb={"figure": {"name": "tab-same-views", "caption": "Share of the pairs of components that use the same views of an image to the same effect.", "caption_before": true, "classes": "numbered-table"}}
if here.drawn:
    display(study.rq2.same_views(here, pairs, view_share=view_share).set_index("target").round(3))

# %% mystnb={"figure": {"name": "tab-confusion", "caption": "Pairs of maps, by what the networks do and what the threshold says.", "caption_before": true, "classes": "numbered-table"}}
if here.drawn:
    confusion = study.rq2.confusion(here, pairs, view_share=view_share)
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
if here.drawn:
    answers, by_view = study.rq2.single_view_accuracy(here)
    display(study.rq2.views_known(use, answers, by_view))

# %% [markdown]
# The differences that the theory is about, with intervals over the same images; and by how much the pointing game beats
# pointing at any view, and the maps of untrained networks, the mean over networks.

# %% mystnb={"figure": {"name": "tab-view-gaps", "caption": "Differences in the views used and known.", "caption_before": true, "classes": "numbered-table"}}
if here.drawn:
    view_gaps = study.rq2.view_gaps(here, use, answers)
    display(view_gaps.set_index(["what", "less", "target"]).round(3))

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-views-known", "caption": "Accuracy of every network on test images that show a single view of their class, view by view."}}
if here.drawn:
    display(
        figures.heat_map(
            study.rq2.view_cells(here, by_view),
            x="network",
            y="view",
            value="mean",
            title="Accuracy on images with one view of their class",
            description="Heat map of the accuracy of every network on single-view images, one row a view.",
        )
    )
else:
    print("These images have no views.")

# %% [markdown]
# ## Is it a lottery which views a network learns?
#
# The theory needs one: chance decides, network by network, which of a class's views are learnt, so that an ensemble has
# more of them than each of its members. If instead some views are easier than others, all networks learn the same ones
# and there is little to inherit. It is asked of the use of views in the probe images, by intervention, and of the answers
# to test images that show one view of their class.
#
# Cochran's Q {cite}`cochran1950comparison` tests view by view whether networks have the same rate: if only the image and
# its view decide, networks can be exchanged in every image. But a network that is better than the others, or likes one
# class, has other rates too, at all of its views. So two views of a class are compared with each other: *dispersion* is
# how much the difference of their rates varies between networks, over what it would by chance within images; 1 if
# networks do not differ in which of a class's views they favour. With enough images any difference is found, so the
# *share between networks* says how large it is: 1 if every network draws views of its own, 0 if the view decides. Intervals
# are over classes.

# %% mystnb={"figure": {"name": "tab-lottery", "caption": "Whether components differ in which views they use, and which they recognise.", "caption_before": true, "classes": "numbered-table"}}
if here.drawn:
    lottery, lottery_summary, said = study.rq2.lottery(here, answers, view_share=view_share)
    print(*said, sep="\n")
    display(lottery_summary.set_index(["what", "quantity"]).round(3))
else:
    print("These images have no views.")

# %% [markdown]
# View by view: the lowest and the highest rate of a component, and Cochran's Q.

# %% tags=["hide-input"] mystnb={"figure": {"name": "tab-lottery-views", "caption": "Rates at which components use and recognise each view, and whether these differ.", "caption_before": true, "classes": "numbered-table"}}
if here.drawn:
    display(study.rq2.lottery_table(here, lottery))

# %% tags=["nbval-check-output"]
for line in study.rq2.checks(shares):
    print(line)
