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
# # Determine the threshold
#
# When are two saliency maps alike enough to say that they show the same features? Pairs of maps are labelled *same* or
# *different*, a logistic curve is fitted to the labels over the similarity of the maps, and T_c is where the curve
# crosses one half. RQ1 to RQ3 count maps above T_c.

# %% tags=["parameters"]
run: str = "runs/quick"  # folder of the run
measure: str = "pearson"  # similarity that RQ1 to RQ3 go by: pearson | cosine
loss: str = "log"  # what their curve minimises: log (log loss) | mse (mean squared error, as in Gardner 2022)
view_share: float = 0.5  # multiview: a view is used if it matters this share of what the one that matters most does
seed: int = 0  # of the bootstrap
annotator: str = ""  # your name, to label pairs here (in JupyterLab, Notebook 7 or VS Code); empty: nobody is asked
pairs_to_label: int = 100  # how many different pairs an annotator is asked

# %% tags=["hide-input"]
from kd_lib import figures, study

chosen = study.parameters.chosen(globals())

# %% [markdown]
# ## Where the labels come from
#
# In this order: people, where the run's `annotations/` holds answers of theirs; on multi-view images the ground
# truth, for there two networks can be *made* to show which views they use, by taking each view away; otherwise nobody,
# and then the published value is used.
#
# {doc}`../book/annotation_guide` says how to judge a pair. With your name as the parameter `annotator` the next cell
# asks you, and goes on where you stopped; run the notebook again for the threshold that comes out.

# %%
here = study.open(run, chosen=chosen)
study.threshold.ask(here, annotator=annotator, number=pairs_to_label)

# %%
pairs = study.threshold.pairs(here)
labelled, source = study.threshold.labelled(here, pairs, view_share=view_share)
print("labels:", source)

# %% [markdown]
# ## Do the annotators agree?
#
# With themselves: the share of the pairs asked twice that got the same answer. With one another: Cohen's kappa of every
# two, Krippendorff's alpha of all. Beside that, the threshold that each one's own answers give, and that of all
# together (the majority; ties and *can't tell* left out).

# %%
said, tables = study.threshold.annotators(here, pairs, measure=measure, loss=loss, seed=seed)
print(said)
for table in tables:
    display(table.round(3))

# %% [markdown]
# On multi-view images a pair is *same* when both networks use the same views of that image to the same effect, for or
# against the target class. A network uses a view when removing it changes the class's logit by at least `view_share` of
# what removing the view that matters most does. The criterion is relative because a map is: it shows each place beside
# the strongest one.
#
# This criterion was chosen after another had failed, so it has been made to fit, and what follows from it says less than
# labels of people would. The first one was absolute: a view is used if its removal changes the logit by `view_share` of
# the standard deviation that the logit has over images. By that, two weak maps count as the same because nothing is used
# in either, however different they look. The table shows both: the share of pairs that count as the same, and how well
# similarity ranks them (area under the ROC curve, 0.5 is a coin).

# %% tags=["hide-input"] mystnb={"figure": {"name": "tab-criteria", "caption": "Two criteria of using the same views: the one in use (relative), and the one that was tried before (absolute).", "caption_before": true, "classes": "numbered-table"}}
criteria = study.threshold.criteria(here, pairs, view_share=view_share, seed=seed)
criteria.set_index(["criterion", "target"]).round(3) if len(criteria) else None

# %% [markdown]
# The pairs that are used:

# %% mystnb={"figure": {"name": "tab-labelled", "caption": "Labelled pairs of maps, and the share of them labelled the same.", "caption_before": true, "classes": "numbered-table"}}
if labelled is not None:
    found = labelled.groupby("on_target")["same"].agg(["size", "mean"])
    display(found.set_axis(["pairs", "share labelled same"], axis=1).round(3))

# %% [markdown]
# Four of these pairs to learn from: two that are what they look like, and two that are not.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-judging", "caption": "Labelled pairs of maps of one image for its own class: what the label says, and the similarity of the two maps. Red speaks for the class, blue against it; one colour scale a row."}}
if labelled is not None:
    display(
        figures.map_grid(
            study.threshold.examples(here, labelled),
            ["map 1", "map 2"],
            title="Four labelled pairs of maps",
            description="Pairs of maps labelled the same and different, each beside its image.",
        )
    )
else:
    print("No labelled pairs to learn from.")

# %% [markdown]
# ## The fit
#
# Two measures of similarity and two losses. `error` is the share of pairs on the wrong side of T_c; `baseline` the
# error of always giving the commoner answer, which a useful threshold has to beat. Intervals are from a bootstrap that
# draws whole images.

# %% mystnb={"figure": {"name": "tab-threshold", "caption": "Thresholds by two measures of similarity and two losses.", "caption_before": true, "classes": "numbered-table"}}
table, curves = study.threshold.fit(here, labelled, measure=measure, loss=loss, source=source, seed=seed)
for remark in table.loc[table["remark"] != "", "remark"]:
    print("no threshold:", remark)
table.drop(columns=["remark", "source", "labelled by"]).set_index(["measure", "loss"]).round(3)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-threshold", "caption": "Share of pairs labelled the same by similarity (points: equal-width bins, their size the number of pairs), the fitted logistic curves, and the threshold of each (dashed)."}}
if len(curves):
    display(
        figures.response_curves(
            study.threshold.binned(labelled),
            curves,
            table[table["loss"] != "published"],
            title="Share of pairs that show the same features, by similarity of their maps",
            description="Share of pairs labelled the same against similarity, with fitted logistic curves.",
        )
    )
else:
    print("No labels, or none that fix a threshold: nothing to draw.")

# %% [markdown]
# `less baseline` says whether the threshold is better than always giving the commoner answer: below 0 it is. Pairs on and
# off target differ in how many of them are the same, and images with one view in how alike all maps are; so the same fit
# is made for each of them alone. One T_c for all is a compromise where these differ.

# %% mystnb={"figure": {"name": "tab-threshold-parts", "caption": "The threshold that each kind of pair gives by itself.", "caption_before": true, "classes": "numbered-table"}}
if labelled is not None:
    parts = study.threshold.by_part(here, labelled, measure=measure, loss=loss, seed=seed)
    display(parts.set_index("pairs").round(3).astype(object).where(lambda f: f.notna(), "–"))

# %% [markdown]
# ## Which measure deserves to be used?
#
# A threshold can be put on any measure; a good one ranks the pairs that show the same features above the others. The
# area under the ROC curve is the probability that it does, for one pair of each kind: 0.5 is a coin. It asks for no
# threshold and no curve. Beside Pearson's correlation and the cosine there are Spearman's, which heeds ranks alone, and
# structural similarity {cite}`wang2004image`, made for pictures. `less pearson` is by how much a measure's area exceeds
# Pearson's, on the same images; an interval that holds 0 means that the labels do not tell the two apart. On target and
# off target are also taken by themselves, since labels and similarities both differ between the two, and so are images
# with one view of their class and with several. *Within images* only pairs of one image are held against one another: that
# some images have like maps of everything counts for nothing there.

# %% mystnb={"figure": {"name": "tab-measures", "caption": "Area under the ROC curve of four measures of similarity.", "caption_before": true, "classes": "numbered-table"}}
if labelled is not None:
    areas, measured = study.threshold.areas(here, labelled, seed=seed)
    display(areas.set_index(["pairs", "measure"]).round(3).astype(object).where(lambda f: f.notna(), "–"))
else:
    print("No labels, so no measure can be judged.")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-roc", "caption": "ROC curves of four measures of similarity against the labels, all pairs. Dashed: a measure that tells nothing."}}
if labelled is not None:
    display(
        figures.roc(
            study.threshold.roc(measured),
            title="How well four measures tell same from different",
            description="ROC curves of Pearson, cosine, Spearman and structural similarity against the labels.",
        )
    )
else:
    print("No labels, nothing to draw.")

# %% [markdown]
# ## The threshold used from here on

# %%
chosen = here.used_threshold
print(f"T_c = {chosen['value']:.2f}, from: {chosen['source']} (Gardner 2022: {study.threshold.PUBLISHED})")

# %% tags=["nbval-check-output"]
print("T_c is a similarity between -1 and 1:", -1 <= chosen["value"] <= 1)
print("T_c comes from labels of this run:", chosen["loss"] != "published")
