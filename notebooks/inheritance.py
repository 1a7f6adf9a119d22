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
# # What makes a student inherit?
#
# The other chapters look at trained networks and ask how alike they are. Here a feature is *planted*: some teachers know
# it, the others never saw it, and nothing else differs. If it is found in their student, it was inherited. No map and no
# T_c is needed: a view is taken away, or shown alone, and the answer changes or does not.

# %% tags=["parameters"]
run: str = "runs/quick"  # folder of the run
experiments: list = ["alone"]  # some of alone, beside, top, never, complementary, softness
teachers: int = 2  # networks in an ensemble, of which 0 up to all know the view
seeds: int = 1  # how often all of it is done, with new networks and another view; from three on intervals count them
planted_images: int = 1000  # training images of each network
planted_epochs: int = 6  # passes over them
planted_batch_size: int = 32  # images a step
planted_max_lr: float = 0.03  # peak of the one-cycle learning rate
planted_test_size: int = 400  # test images, of which those that show several views are used
view_share: float = 0.5  # a view is used if it matters this share of what the one that matters most does
device: str = "auto"  # auto | cpu | cuda
executor: str = "local:2"  # empty (this process) | local:N (worker processes) | a Dask scheduler's address (tcp://…)
recompute: bool = False  # train anew, whatever is stored

# %% tags=["hide-input"]
from kd_lib import figures, study

chosen = study.parameters.chosen(globals())

# %%
here = study.open(run, chosen=chosen)
planned = study.lessons.plan(here, chosen)
print(planned.in_words())

# %% [markdown]
# ## Teachers
#
# Every teacher comes twice, from the same initial weights and with the same order of images. One learns from images as
# they are. The other never sees one view of any class: the images are drawn again without it, and those that show no
# other view of their class are left out. Before anything is distilled, the lesions are verified: on images that show
# the view alone, a network that never saw it must be no better than chance, and taking the view away must not matter to
# it. Intervals are over classes.

# %% mystnb={"figure": {"name": "tab-lesions", "caption": "What the teachers know of the planted view, by intervention.", "caption_before": true, "classes": "numbered-table"}}
lesions = study.teaching.train(here, planned, executor=executor, device=device, recompute=recompute)
print(*study.inheritance.lesions_in_words(lesions), sep="\n")
lesions.set_index(["seed", "network"]).round(3)

# %% [markdown]
# ## How many teachers must know it?
#
# An ensemble in which some teachers know the view teaches a student, which is shown no label. What the student's own
# images show decides what can be concluded. *Alone or never*: an image shows the view alone or not at all, so that only
# what the teachers say can tell which class it belongs to. *Beside others*: as they are; a student that sees the view
# beside others, in images that its teachers recognise for another reason, can learn it by itself, which is no
# inheritance. *Top answer*: the teachers only say which class they put first, so there is no dark knowledge. *Never*:
# the student's images do not show the view either.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-doses", "caption": "Accuracy on images that show the planted view alone, by the number of teachers that know it, with 95 % intervals; small dots are seeds. Dashed: single teachers that know it, an untrained network (grey), and chance."}}
means, by_seed, gaps, doses = study.inheritance.tables(here, planned, lesions, view_share=view_share)
curve, points = study.inheritance.curve(means, by_seed)
figures.doses(
    curve,
    points,
    value_title="accuracy on the view alone",
    chance=planned.chance,
    title=study.inheritance.title(gaps, teachers),
    description="Accuracy on images of the planted view alone, of ensemble and student, by teachers that know it.",
)

# %% [markdown]
# Recognising a view alone is all or nothing. How much a view counts in an image that shows all of its class is a matter
# of degree: its *importance*, by how many logits the class falls when the view is taken away.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-doses-importance", "caption": "Importance of the planted view, in logits, by the number of teachers that know it, as in the figure above; 0: it does not count."}}
importance, points = study.inheritance.curve(means, by_seed, "importance")
figures.doses(
    importance,
    points,
    value_title="importance (logits)",
    chance=0.0,
    title=study.inheritance.title(gaps, teachers, "importance"),
    description="Importance of the planted view for ensemble and student, by the number of teachers that know it.",
)

# %% [markdown]
# What was expected is written in the book's claims, with what would speak against it: that the student of one teacher
# that knows the view is above the student of none, and that the rest is not explained by its top answers.

# %% mystnb={"figure": {"name": "tab-inheritance-gaps", "caption": "Differences in what is known of the planted view, with 95 % intervals.", "caption_before": true, "classes": "numbered-table"}}
print(*study.inheritance.in_words(gaps, doses), sep="\n")
gaps.set_index(["arm", "what", "less", "quantity"]).round(3) if len(gaps) else None

# %% mystnb={"figure": {"name": "tab-doses", "caption": "How much of what all teachers bring some of them do; parts: times the number of teachers over those that know, 1 is in proportion.", "caption_before": true, "classes": "numbered-table"}}
doses.set_index(["arm", "known"]).round(3) if len(doses) else None

# %% [markdown]
# *Used* is the share of images in which taking the view away matters, beside the others (`view_share`); *every view
# alone* the share of all views of a class that are recognised alone.

# %% mystnb={"figure": {"name": "tab-inheritance-means", "caption": "What networks make of the planted view.", "caption_before": true, "classes": "numbered-table"}}
means.set_index(["arm", "kind", "known", "quantity"])["mean"].unstack().round(3) if len(means) else None

# %% [markdown]
# ## Dark knowledge turned down
#
# One teacher knows the view. A higher temperature lets its doubts weigh more, the weight of the labels turns them down,
# the top answer is without them, and *permuted* answers keep how sure the teachers are, but not of what else they thought.
# What an arm inherits is the distance between its two dots: with labels, students learn the view whoever teaches.

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-softness", "caption": "Accuracy on images of the planted view alone, of students one or none of whose teachers knows it, by what the teachers say and how it is learnt; 95 % intervals."}}
figures.intervals(
    study.inheritance.softness(means),
    group="arm",
    colour="kind",
    value_title="accuracy on the view alone",
    title="What must teachers say for the view to arrive?",
    description="Accuracy of students on the planted view alone by temperature, label weight and kind of answer.",
)

# %% tags=["nbval-check-output"]
for line in study.inheritance.checks(gaps):
    print(line)
