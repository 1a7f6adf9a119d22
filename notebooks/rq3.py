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
choices: list = ["output=probs", "output=log-probs", "output=centred"]  # what to choose otherwise: parameter=value
view_share: float = 0.5  # multiview: a view is used if it matters this share of what the one that matters most does
human_labels: str = ""  # CSV: path of a test image, then for each class how many people called it so; empty: none
device: str = "auto"  # auto | cpu | cuda
executor: str = ""  # empty (this process) | local:N (worker processes) | a Dask scheduler's address (tcp://…)

# %% tags=["hide-input"]
from kd_lib import figures, study

chosen = study.parameters.chosen(globals())

# %%
here = study.open(run, threshold=threshold, chosen=chosen)
here.check_image(example)
print(f"T_c = {here.t_c:.2f} ({here.source}); components: {', '.join(here.components) or 'none'}")
if not here.has_ensemble:
    print("No ensemble, which takes two components: only the networks' maps of one image are compared below.")

# %% [markdown]
# ## By intervention: does the student use the views that the ensemble uses?
#
# On drawn images this can be asked without any map and without T_c. A view is taken out of an image, and how far a logit
# falls is how much the view counts for that class: its *importance*, for the ensemble the mean of its components'. A
# component is held against the ensemble of the others; the distilled network, and every other student, against the same
# ensembles, mean over which component is left out. So nobody is compared with itself, and all with equally many networks.
#
# *Correlation* is Pearson's, over the views that an image shows, of their importance for its own class (on target) or for
# another one (off target, mean of the classes). *Same views* is the share of images for which both use the same views to
# the same effect: a view is used if it matters `view_share` of what the one that matters most does. *View by view* turns
# it round: Spearman's correlation, over the images of a class that show one of its views, of how much this view counts
# for it; mean of the views that five images or more show.
#
# If the student inherits what its ensemble uses, its numbers are higher than those of a component, which has learnt from
# the labels alone; if they are not, its maps are like the ensemble's for another reason. Techniques that need no ensemble
# are shown where the run trained some.

# %% mystnb={"figure": {"name": "tab-importances", "caption": "How close the importance of views is to that for the ensemble of all components but one, with 95 % intervals from a bootstrap over images.", "caption_before": true, "classes": "numbered-table"}}
importances, importance_gaps, said = study.rq3.importances(here, view_share=view_share)
print(*said, sep="\n")
importances.set_index(["what", "quantity", "target"]).round(3) if len(importances) else None

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-importances", "caption": "How close the importance of views is to that for the ensemble of all components but one, with 95 % intervals from a bootstrap over images; a dot a student."}}
if here.drawn:
    display(
        figures.intervals(
            importances.rename(columns={"mean": "share"}),
            group="quantity",
            colour="kind",
            value_title="correlation, or share of images",
            title="Closeness to the ensemble in which views count",
            description="Correlation and agreement of the importance of views with the ensemble's, by kind of network.",
        )
    )

# %% [markdown]
# The difference that counts, image by image: students less left-out components. *Every student* counts students,
# components and images as drawn from many, and is there from three students on.

# %% mystnb={"figure": {"name": "tab-importance-gaps", "caption": "How much closer to the ensemble students are than left-out components in which views count.", "caption_before": true, "classes": "numbered-table"}}
importance_gaps.set_index(["what", "less", "quantity", "target"]).round(4) if len(importance_gaps) else None

# %% [markdown]
# ## One image

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-one-image", "caption": "Pearson similarity of the maps of one image for its own class, between all networks and the ensemble."}}
own_class = here.class_names[here.labels[example]]
figures.heat_map(
    study.rq3.similarity_matrix(here, example),
    x="other network",
    y="network",
    value="similarity",
    diverging=True,
    title=f"Probe image {example}, {own_class}: how alike the networks' maps are",
    description="Matrix of the Pearson similarity of the maps of one image between all networks.",
)

# %% [markdown]
# ## All images

# %% mystnb={"figure": {"name": "tab-shares", "caption": "Share of maps more similar to the ensemble's than the threshold, by kind of network.", "caption_before": true, "classes": "numbered-table"}}
frame = study.rq3.to_ensemble(here)
kinds, shares = ", ".join(frame["kind"].unique()), here.shares_and_means(frame)
by_class = here.shares(frame, by=["kind", "class", "target"])
here.keep(shares, "rq3_shares")
here.keep(by_class, "rq3_shares_by_class")
shares.set_index(["kind", "target"]).round(3)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-to-ensemble", "caption": "Similarity to the ensemble's maps by class: median, quartiles, and the 5th and 95th percentile. The components are shown as parts of the ensemble and with themselves left out of it. Techniques that need no ensemble are shown where the run trained some. Grey: the floor and the ceiling of the last chapter."}}
figures.boxes(
    study.rq3.quantiles(frame),
    group="class",
    colour="kind",
    value_title="Pearson similarity to the ensemble",
    title="Similarity to the ensemble's maps, by class",
    description=f"Box plots of the similarity to the ensemble's maps for {kinds}.",
    bands=study.rq2.bands(study.rq2.bounds(here)),
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-shares", "caption": "Share of maps that are more similar to the ensemble's than the threshold, with 95 % intervals from a bootstrap over images."}}
figures.intervals(
    by_class,
    group="class",
    colour="kind",
    value_title="share of maps above T_c",
    title="Share of maps above T_c of similarity to the ensemble's",
    description=f"Share of maps above the threshold by class for {kinds}.",
)

# %% [markdown]
# ## How much does being part of the ensemble flatter a component?
#
# The ensemble's map is the mean of M maps, so 1/M of it is the component's own, and that part is alike for free. The
# table shows what leaving it out takes away (with a 95 % interval over images), and which part of a component's
# covariance with the ensemble is with itself: 1/M if all components had the same maps, 1 if they had nothing in common.

# %% mystnb={"figure": {"name": "tab-bias", "caption": "What being part of the ensemble gives a component.", "caption_before": true, "classes": "numbered-table"}}
study.rq3.bias(here, frame).round(3)

# %% [markdown]
# ## Does the threshold matter?
#
# T_c is uncertain. Here it runs from 0 to 0.95; dashed are the one of this run and the published one, 0.53.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-sweep", "caption": "Share of maps that are more similar to the ensemble's than the threshold, for every threshold."}}
sweep = study.rq3.sweep(here, frame)
figures.threshold_sweep(
    sweep,
    here.thresholds,
    colour="kind",
    title="Share of maps above the threshold, as the threshold runs from 0 to 0.95",
    description=f"Share of maps above the threshold by threshold for {kinds}.",
)

# %% [markdown]
# ## The answer
#
# Gardner (2022) found that from components to the distilled network the share above T_c rises from 78 % to 98 % on
# target and from 52 % to 87 % off target. The difference that counts is the one between the distilled network and
# leave-one-out, both beside the same ensembles: of all components but one, mean over which. Its interval is from the same
# bootstrap over images, its p-value from a test that swaps the two networks' similarities of an image at random; the effect
# size is the mean difference in standard deviations of the differences.

# %% mystnb={"figure": {"name": "tab-gain", "caption": "Mean similarity to the ensemble's maps: the distilled network less components.", "caption_before": true, "classes": "numbered-table"}}
beside = study.rq3.beside_the_same(here, frame)
gain = study.rq3.gain(here, beside)
gain.set_index(["distilled less", "target"]).round(4)

# %% [markdown]
# The same in the share of maps above T_c, which is what Gardner (2022) reports; the rows *off less on* say by how much that
# gain is larger off target, and the last ones by how much each kind's share is larger on target.

# %% mystnb={"figure": {"name": "tab-share-gaps", "caption": "Differences in the share of maps above the threshold.", "caption_before": true, "classes": "numbered-table"}}
share_gaps = study.rq3.share_gaps(here, beside)
share_gaps.set_index(["what", "less", "target"]).round(4)

# %% [markdown]
# Is the gain larger off target? Off target a component is further from the ensemble, so that there is more to gain.
# *Fisher's z* stretches similarities near 1, where little is left to gain; *headroom* is the gain as a share of what a
# left-out component lacks to a similarity of 1. If the order of on and off target hangs on the scale, it says nothing of
# features.

# %% mystnb={"figure": {"name": "tab-gain-by-scale", "caption": "The gain over left-out components on three scales, and how much larger it is off target.", "caption_before": true, "classes": "numbered-table"}}
gain_by_scale = study.rq3.gain_by_scale(here, beside)
gain_by_scale.set_index(["scale", "target"]).round(4)

# %% [markdown]
# Similarity class by class against leave-one-out, with p-values corrected for the number of classes and targets by Holm's
# method.

# %% mystnb={"figure": {"name": "tab-gain-by-class", "caption": "Mean similarity by class: the distilled network less left-out components.", "caption_before": true, "classes": "numbered-table"}}
by_class_gain = study.rq3.gain_by_class(here, beside)
by_class_gain.drop(columns=["distilled less", "p"]).set_index(["target", "class"]).sort_index().round(3)

# %% [markdown]
# Gardner (2022, Fig. 4.6) sees the distilled network's medians more than half an interquartile range above the components',
# in all classes. The same here, in interquartile ranges of the components, which are part of the ensemble as there.

# %% mystnb={"figure": {"name": "tab-medians", "caption": "By how many interquartile ranges the median similarity of the distilled network's maps lies above a component's.", "caption_before": true, "classes": "numbered-table"}}
medians = study.rq3.medians_apart(here, frame)
medians.set_index(["target", "class"]).sort_index().round(2)

# %% [markdown]
# ## Which technique without an ensemble comes closest?
#
# An ensemble is costly. *Plain* is a network that is trained on the labels as long as the distilled one and is in no
# ensemble; *adam* differs from it in the optimiser alone. The others change the labels
# {cite}`szegedy2016rethinking` or mix images {cite}`zhang2018mixup,yun2019cutmix,takahashi2018ricap`, or learn from one
# component {cite}`furlanello2018born`; these are held against the ensemble without their teacher, and so is the distilled
# network that they are compared with. The numbers are means over the seeds of a technique (`technique_seeds`), the intervals
# are over images; how far apart the components lie tells what a seed does. Whether a technique has learnt as much as the
# distilled network says its accuracy, in the table of {doc}`train_models`.

# %%
techniques, said = study.rq3.techniques(here, beside)
print(*said, sep="\n")

# %% tags=["hide-input"] mystnb={"figure": {"name": "tab-techniques", "caption": "Mean similarity: techniques that need no ensemble beside the distilled network, and beside plain training.", "caption_before": true, "classes": "numbered-table"}}
techniques.set_index(["what", "less", "target"]).round(4) if len(techniques) else None

# %% [markdown]
# ## Would another student say the same?
#
# All of the above is about one student, of one seed. Where the run trained several of the same ensemble (`students`),
# each is held against components here. The interval of *every student* counts students, components and images as drawn
# from many, so it says what to expect of the next student; those of single students are over images alone.

# %% mystnb={"figure": {"name": "tab-students", "caption": "Students of the ensemble less components, and less the ensemble.", "caption_before": true, "classes": "numbered-table"}}
students = study.students.gains(here, frame, device=device)
print(*study.students.in_words(students), sep="\n")
students.set_index(["quantity", "less", "student"]).round(4)

# %% [markdown]
# ## Its teachers' features, or any ensemble's?
#
# Has a student learnt *its* ensemble's features, or would any ensemble have taught it the same? The components are split
# into two halves, and each half teaches a student of its own, a *half-taught* one. The other half are *strangers* to it:
# networks that never taught it. A student that inherits its teachers' features has maps that are closer to its teachers'
# ensemble than to the strangers'. One that has only learnt to have cleaner maps, as any ensemble would teach it, is as close
# to the one as to the other. How close a network is to strangers that nobody taught says a component, beside the half that
# it is not in. There is a student of each half, so that it does not matter if one half is nearer to everybody.

# %% mystnb={"figure": {"name": "tab-halves", "caption": "Likeness to the ensemble that taught, and to strangers.", "caption_before": true, "classes": "numbered-table"}}
halves = study.rq3.to_half_ensembles(here)
half_shares = here.shares_and_means(halves, by="pair")
here.keep(half_shares, "rq3_halves")
half_shares.set_index(["pair", "target"]).round(3)

# %% mystnb={"figure": {"name": "tab-inherited", "caption": "Differences in that likeness (mean similarity).", "caption_before": true, "classes": "numbered-table"}}
inherited = study.rq3.inherited(here, halves)
inherited.set_index(["what", "less", "target"]).round(4)

# %% [markdown]
# ## How much is inherited?
#
# As a share of what the ensemble has more than a component: 0 % is a component, 100 % the ensemble. A student's maps and
# a component's are held against the same ensemble here, of all components but that one. The interval is Fieller's; with
# three students or more it counts students, components and images, with fewer only images. *Any ensemble's teaching* is
# the part of the half-taught networks' gain in likeness to their teachers' ensemble that they also have in likeness to
# strangers'; the rest is their own teachers'.

# %% mystnb={"figure": {"name": "tab-inherited-shares", "caption": "Share of the ensemble's gain over a component that its students have, and what any ensemble would have taught.", "caption_before": true, "classes": "numbered-table"}}
inherited_shares = study.inherited.shares(here, halves, device=device)
print(*study.inherited.in_words(inherited_shares), sep="\n")
inherited_shares.set_index("quantity").round(3)

# %% [markdown]
# ## Is it the features, or just the outputs?
#
# A network that gives the ensemble's answers may have the ensemble's maps for no other reason. So every network's
# outputs on the probe images are compared with the ensemble's as well (a leave-one-out component's with those of the
# ensemble of the others): *agreement*, the share of images for which both put the same class first, and the
# Kullback-Leibler divergence KL(ensemble || network). Linear *CKA* {cite}`kornblith2019similarity` compares what the last
# layer is given; the ensemble's features are those of its members side by side, of which its output is a linear function.
# It is debiased {cite}`nguyen2021wide`, since the images are fewer than the features. Accuracy is on the probe images.

# %% mystnb={"figure": {"name": "tab-outputs", "caption": "Closeness to the ensemble in outputs, features and maps.", "caption_before": true, "classes": "numbered-table"}}
own_features, said = study.rq3.features(here, device=device)
close = study.rq3.closeness(here, frame, own_features)
print(said)
study.rq3.closeness_table(close)

# %% [markdown]
# ### Do maps and outputs tell the same story?
#
# A handful of networks is too few to correlate one measure with another. Their images are not: on those images on which
# a network's outputs are closer to the ensemble's, are its maps closer, too? With KL the correlation is then negative.

# %% mystnb={"figure": {"name": "tab-rank", "caption": "Rank correlation, over images, of closeness in outputs and in maps.", "caption_before": true, "classes": "numbered-table"}}
correlations, said = study.rq3.rank_correlations(here, close)
print(said)
correlations.pivot(index=["kind", "similarity"], columns="output", values="spearman").round(2)

# %% [markdown]
# ### At equal outputs, are the distilled network's maps still closer?
#
# This is the sharp question. If outputs explain the gain over components, it is gone where the two networks' outputs are
# equally close to the ensemble's, in what the student was trained for: KL at the temperature at which it was taught, and
# the error of its logits, each less their mean, to which that comes at a high temperature (*error of logits*, mean square).
# An ensemble of fewer networks has noisier maps, so both are held against the same one here, of all components but the one
# that the distilled network is compared with. The table has all pairs of the two on one image; those where both agree with
# the ensemble; those with the same agreement and about the same KL; and the gain at equal KL, error and agreement in two
# regressions, across images and within them. The answer is *yes* where the intervals of the last three are all above 0,
# *no* where they all end below a quarter of the whole gain. Outputs are equal here on the image as it is, with nothing
# hidden; what remains is how the networks come to them, and what they answer to images with a part hidden, which is what
# maps are made of.

# %% mystnb={"figure": {"name": "tab-beyond", "caption": "Gain of the distilled network over a left-out component where outputs are alike.", "caption_before": true, "classes": "numbered-table"}}
rest = study.rq3.to_the_rest(here)
gains, said = study.rq3.at_equal_outputs(here, rest)
print(*said, sep="\n")
gains.set_index(["similarity", "adjustment"]).round(3)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-beyond-outputs", "caption": "Mean similarity of the maps to those of the ensemble that leaves one component out, of that component and of the distilled network, by how far the outputs are from the same ensemble's on the same image, in five bins of KL (at the temperature of distillation) with equally many rows; 95 % intervals over images. At one KL, a distance between the lines is not due to how close the outputs are."}}
figures.similarity_by_kl(
    study.rq3.by_kl(rest),
    title="At the same distance of outputs, whose maps are closer to the ensemble's?",
    description="Mean similarity of maps by KL divergence of outputs, for each kind of network, on and off target.",
)

# %% [markdown]
# ### Are networks closer to the consensus more accurate?
#
# Li et al. {cite}`li2023cross` took the consensus of many image classifiers' explanations and found that a network is the
# more accurate, the closer its explanations are to it; each network was part of the consensus it was compared with. Here
# it is left out, and networks of every epoch count. Training raises both, so components are also compared with the others
# of the same epoch; p is from giving one network's accuracies to another, and cannot be small with few networks. Accuracy
# is on the test images, of which the probe is no part.

# %%
states = study.rq3.to_consensus(here)
print(study.rq3.tracking(here, states))

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-consensus", "caption": "Accuracy on the test images by mean similarity of the maps to the consensus: the final ensemble, for a component that of the others. A line follows a component through its epochs; large points are final networks."}}
figures.consensus(
    study.rq3.consensus_points(states),
    title="Are networks whose maps are closer to the consensus more accurate?",
    description="Test accuracy by similarity to the consensus, every network, components at every epoch.",
)

# %% [markdown]
# Others look at what is transferred from other sides. Stanton et al. {cite}`stanton2021does` find that students often do not
# give their teacher's answers even where they could, and are none the worse for it: accuracy and likeness to the teacher come
# apart. UniCAM {cite}`adhane2025explaining` isolates in gradient-based maps
# what a student has from its teacher and what it leaves out, and finds the one on the objects and the other around them.
# e²KD {cite}`parchami2024good` adds the likeness of explanations to what a student is trained for, since a student that is
# as accurate as its teacher need not have its reasons, and gains accuracy and agreement. Here students are trained on
# outputs alone and explanations are only looked at: the table at equal outputs says how much of the ensemble's
# explanations comes along uncalled for.

# %% [markdown]
# ## Do people see what the ensemble's soft answers say?
#
# Distillation is said to hand on *dark knowledge* {cite}`hinton2015distilling`: what the ensemble's soft answers say about
# an image beside its class. Whether that is true can be asked of people, who do not all give an image the same name either
# {cite}`peterson2019human`; `human_labels` counts the names that they gave to test images. Networks are compared with them
# by the cross-entropy of people's shares with the softmax, as it is and after one temperature a network, which is fitted on
# a random half of the images and tried on the other, and by the rank correlation of shares and logits over the classes
# other than the true one.
#
# What is claimed was written before there was any result: the distilled network is nearer to people than a component is,
# with a lower cross-entropy after the temperature and a higher rank correlation. If so, and also on images that both get
# right, it was handed something that people see as well. If it is not nearer, or only where it is right more often, then
# soft answers handed on accuracy or doubt, but nothing about the image that people would tell.

# %% mystnb={"figure": {"name": "tab-human-agreement", "caption": "How near networks' soft answers are to people's, with 95 % intervals over images; cross-entropies in nats an image.", "caption_before": true, "classes": "numbered-table"}}
soft, said = study.human.by_image(here, human_labels, device=device)
agreement = study.human.agreement(here, soft)
print(said)
agreement.set_index("kind").T.round(3) if len(agreement) else None

# %% mystnb={"figure": {"name": "tab-human-gaps", "caption": "How much nearer to people one kind of network is than another, image by image: a cross-entropy below 0, a rank correlation above 0.", "caption_before": true, "classes": "numbered-table"}}
human_gaps, said = study.human.gaps(here, soft)
print(said)
human_gaps.set_index(["what", "less", "among", "quantity"]).round(4) if len(human_gaps) else None

# %% [markdown]
# ## Would other choices give other answers?
#
# Somebody chose the size of the patch, what takes the place of hidden pixels, what of a network's output the maps
# explain, and how the networks were trained. Here the numbers that make up the answers are computed again with one of
# these chosen otherwise, each time with a threshold determined anew by the same rule. Maps of probabilities or of their
# logarithm come from the outputs that are stored. Another patch, stride or baseline takes explaining all networks
# again, and another optimiser, temperature or share of single-view images takes training them again: the profile `full`
# does both (`make report PROFILE=full`). The baseline `mean` is each image's own mean colour, `blur` the image itself
# out of focus {cite}`fong2017interpretable`. Intervals are 95 % bootstraps over images; a star marks those that exclude
# this run's value.

# %% mystnb={"figure": {"name": "tab-choices", "caption": "Headlines under every choice.", "caption_before": true, "classes": "numbered-table"}}
options = {"threshold": threshold, "view_share": view_share, "device": device, "executor": executor}
under_choices = study.sensitivity.compare(here, choices, **options)
here.keep(under_choices, "choices")
beside = study.sensitivity.beside_default(under_choices)
study.sensitivity.table(beside)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-choices", "caption": "Every headline under every choice, with 95 % intervals from a bootstrap over images. The line is the value under this run's own choices; orange: the interval excludes it."}}
figures.by_choice(
    beside,
    title="Do the headlines depend on choices?",
    description="One panel a headline: its value and interval under every choice, and a line at this run's value.",
)

# %% [markdown]
# Which answers survive? A headline that is a difference answers by its sign, which is known where the interval excludes
# 0. It survives a choice under which its sign is known as well, and the same.

# %%
here.keep(study.sensitivity.verdicts(under_choices), "choices_verdicts")
print("\n".join(study.sensitivity.sentences(under_choices)))

# %% [markdown]
# ## Where do the thesis's shares come from?
#
# Gardner (2022) finds 78 % of components' maps like the ensemble's on target and 52 % off target, and 98 % and 87 % of
# the distilled network's. What the thesis leaves open about its maps, each row sets in one way; networks trained less
# are components at earlier epochs, beside their own ensemble of then. Maps averaged over colour channels need no row:
# a patch hides all channels at once, so they are the same.

# %% mystnb={"figure": {"name": "tab-levels", "caption": "Share of maps (%) that are like the ensemble's, by how it is computed.", "caption_before": true, "classes": "numbered-table"}}
levels = study.levels.shares(here, frame, under_choices)
print(study.levels.in_words(levels))
study.levels.table(levels)

# %% tags=["nbval-check-output"]
for line in study.rq3.checks(shares):
    print(line)
