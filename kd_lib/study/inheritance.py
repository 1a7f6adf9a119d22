"""What `inheritance` does and says: a view that some teachers know is looked for in their student.

Who is taught what by whom is said in `lessons`, and done in `teaching`. Here it becomes tables, sentences and checks.
"""

import pandas as pd

from kd_lib.measures import planted
from kd_lib.measures.planted import ALONE, EVERY_ALONE, IMPORTANCE
from kd_lib.measures.statistics import Interval, share_of_gain
from kd_lib.study import lessons, teaching
from kd_lib.study.lessons import COMPLEMENTARY, COMPONENT, STUDENT, TEACHERS, UNTRAINED, Plan
from kd_lib.study.reading import ENSEMBLE, Study

ONE, NONE, EVERY = "one teacher knows", "no teacher knows", "every teacher knows"
BESIDE, APART, NEVER = "beside others", "alone or never", "never"  # arms
DOSES = ("arm", "known", "teachers", "share", "low", "high", "parts", "parts low", "parts high", "seeds")
GAIN, KNOWS, IDENTICAL, OWN = "gain from one teacher", "a component that knows", "identical lesions", "its teachers"
# Arms whose gains from one teacher are compared.
GAINS: tuple[tuple[str, str], ...] = (
    (APART, f"{APART}, top answer"),
    (BESIDE, f"{BESIDE}, top answer"),
    (APART, "permuted"),
    (APART, "label weight 0.5"),
    ("temperature 8", "temperature 1"),
)
WHERE = {ALONE: "what the student recognises", IMPORTANCE: "what the student relies on"}
CHART = ("arm", "kind", "known", "mean", "low", "high")


def tables(
    here: Study, planned: Plan, lesions: pd.DataFrame, *, view_share: float
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read back what networks make of the planted view, and compare.

    Gives four tables, kept as `inheritance_means`, `inheritance_by_seed`, `inheritance_gaps` and `inheritance_doses`:
    `measures.planted.means`, `by_seed` and `gaps`, and `doses`. Without rows where no lesion held.
    """
    values = teaching.values(here, planned, lesions, view_share=view_share)
    means, seeds, differences = planted.means(values), planted.by_seed(values), planted.gaps(values, _pairs(planned))
    found = means, seeds, differences, shares(values, planned.teachers)
    if not planned.lacking:
        for table, name in zip(found, ("means", "by_seed", "gaps", "doses"), strict=True):
            here.keep(table, f"inheritance_{name}", view_share=view_share)
    return found


def _pairs(planned: Plan) -> list[tuple]:
    """Which differences are asked for: arm, what, less what, and what these are, see `planted.gaps`."""
    count, found = planned.teachers, []
    knows, new = ("teachers", COMPONENT, 1), (UNTRAINED, UNTRAINED, 0)
    for arm in (arm for arm in planned.arms if arm != COMPLEMENTARY):
        none, one, every = ((arm, STUDENT, known) for known in (0, 1, count))
        beside = [(ONE, NONE, one, none), (EVERY, NONE, every, none), (EVERY, KNOWS, every, knows)]
        beside += [(ONE, "its ensemble", one, (arm, ENSEMBLE, 1)), (EVERY, UNTRAINED, every, new)]
        beside += [(NONE, UNTRAINED, none, new)]
        found += [(arm, what, less, [(1, *own), (-1, *other)]) for what, less, own, other in beside]
    for arm, other in GAINS:
        parts = [(sign * w, name, STUDENT, d) for sign, name in ((1, arm), (-1, other)) for w, d in ((1, 1), (-1, 0))]
        found.append((arm, GAIN, f"{GAIN}: {other}", parts))
    student = (1, COMPLEMENTARY, STUDENT, 0)
    for less, reference in (
        (IDENTICAL, (BESIDE, STUDENT, 0)),
        (OWN, (COMPLEMENTARY, COMPONENT, 0)),
        ("its ensemble", (COMPLEMENTARY, ENSEMBLE, 0)),
    ):
        found.append((COMPLEMENTARY, "student", less, [student, (-1, *reference)]))
    return found


def shares(values: pd.DataFrame, teachers: int) -> pd.DataFrame:
    """How much of what a student has of the view when all teachers know it, it has when some do: columns `DOSES`.

    share is of the accuracy on images that show the view alone, counted from a student whose teachers do not know it
    (`statistics.share_of_gain`); parts is that share times M over the number of teachers that know: 1 is in proportion.
    The interval of parts counts seeds, and is there from three on.
    """
    rows, own = [], values[(values["kind"] == STUDENT) & (values["quantity"] == ALONE)]
    for arm, group in own.groupby("arm", sort=False):
        by = {d: rows_of.pivot(index="seed", columns="image", values="value") for d, rows_of in group.groupby("known")}
        if {0, teachers} <= by.keys():
            for known in sorted(by.keys() - {0, teachers}):
                found = share_of_gain(by[known], by[0], by[teachers].to_numpy().mean(0))
                parts = Interval(*(bound * teachers / known for bound in found))
                over_seeds = planted.known_over_seeds(parts, len(by[known]))
                rows.append((arm, known, teachers, *found, parts.estimate, *over_seeds, len(by[known])))
    return pd.DataFrame(rows, columns=list(DOSES))


def curve(means: pd.DataFrame, seeds: pd.DataFrame, quantity: str = ALONE) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take what the figure draws: means with intervals, columns `CHART`, and every seed's; of arms with all doses.

    Single teachers that know the view, and networks before training, are in every panel.
    """
    frames = []
    for frame in (means, seeds):
        own = frame[frame["quantity"] == quantity]
        taught = own[own["kind"].isin([STUDENT, ENSEMBLE]) & (own["arm"] != COMPLEMENTARY)]
        doses = taught.groupby("arm", sort=False)["known"].nunique()
        taught = taught[taught["arm"].isin(doses[doses > 2].index)]
        beside = own[(own["arm"] == UNTRAINED) | ((own["arm"] == TEACHERS) & (own["known"] == 1))]
        beside = beside.assign(kind=beside["kind"].replace({UNTRAINED: "floor"})).drop(columns=["arm", "known"])
        beside = taught[["arm", "known"]].drop_duplicates().merge(beside, how="cross")
        frames.append(pd.concat([taught, beside], ignore_index=True))
    return frames[0][list(CHART)], frames[1][["arm", "kind", "known", "seed", "mean"]]


def softness(means: pd.DataFrame) -> pd.DataFrame:
    """Take the students of teachers that say less or more, beside those of the arm they vary: one knows, or none."""
    varied = [APART, f"{APART}, top answer", *lessons.EXPERIMENTS["softness"]]
    own = means[means["arm"].isin(varied) & (means["kind"] == STUDENT) & (means["quantity"] == ALONE)]
    own = own[own["known"].isin([0, 1])].rename(columns={"mean": "share"})
    own = own if own["arm"].nunique() > 1 else own[:0]
    return own.assign(kind="distilled", target=own["known"].map({0: NONE, 1: ONE}))


def title(gaps: pd.DataFrame, teachers: int, quantity: str = ALONE) -> str:
    """Say as a title what the arm without anything beside the view found, in a quantity, or else ask."""
    found = _one(gaps, APART, ONE, NONE, quantity)
    if found is None:
        return "Does a view that some teachers know arrive in their student?"
    verb = "arrives" if found.low > 0 else "is lost" if found.high < 0 else "is not seen to arrive"
    return f"A view that one teacher of {teachers} knows {verb} in {WHERE[quantity]}"


def in_words(gaps: pd.DataFrame, doses: pd.DataFrame) -> list[str]:
    """Say what `tables` found, in points of accuracy; the rest is in the tables."""
    asked = {(ONE, NONE): ALONE, (EVERY, KNOWS): ALONE} | {(GAIN, f"{GAIN}: {other}"): ALONE for _, other in GAINS}
    asked |= {("student", less): EVERY_ALONE for less in (IDENTICAL, OWN)}
    said = []
    for row in gaps.itertuples():
        if asked.get((row.what, row.less)) == row.quantity:
            sign = "above" if row.low > 0 else "below" if row.high < 0 else "not known to differ from"
            over = "seeds and images" if row.seeds > 2 else "images alone"
            numbers = f"{100 * row.difference:+.1f} points ({100 * row.low:+.1f} to {100 * row.high:+.1f}, over {over})"
            said.append(f"{row.arm}: {row.what} is {sign} {row.less}, in {row.quantity}: {numbers}")
    for row in doses.dropna(subset=["low"]).itertuples():
        said.append(
            f"{row.arm}: {row.known} of {row.teachers} teachers bring {100 * row.share:.0f} % "
            f"({100 * row.low:.0f} to {100 * row.high:.0f}) of what all of them bring."
        )
    return said


def lesions_in_words(lesions: pd.DataFrame) -> list[str]:
    """Say whether those that never saw the view do not know it, and which seeds are left out if they do."""
    if lesions.empty:
        return []
    blind = lesions[~lesions["knows"].astype(bool)]
    bad = sorted(set(blind.loc[~blind["holds"].astype(bool), "seed"]))
    said = [
        f"{blind['holds'].sum()} of {len(blind)} networks that never saw the view answer as if they did not know it."
    ]
    if bad:
        said.append(f"Nothing is distilled with seed {', '.join(map(str, bad))}: a teacher knows what it never saw.")
    return said


def checks(gaps: pd.DataFrame) -> list[str]:
    """Say what must be so if the experiment is sound, and whether it is."""
    wanted = (
        (
            APART,
            NONE,
            UNTRAINED,
            "where no teacher knows the view, the student knows it no better than an untrained network",
        ),
        (NEVER, EVERY, UNTRAINED, "what a student never saw it knows no better than an untrained network"),
    )
    said = []
    for arm, what, less, text in wanted:
        if (found := _one(gaps, arm, what, less)) is not None:
            said.append(f"{text}: {bool(found.low <= 0)}")
    if (found := _one(gaps, APART, EVERY, NONE)) is not None:
        said.append(f"where every teacher knows the view, the student knows it: {bool(found.low > 0)}")
    if (found := _one(gaps, APART, EVERY, KNOWS)) is not None:
        said.append(
            f"it then knows it as well as a teacher that knows it, but for 5 points: {bool(found.high >= -0.05)}"
        )
    return said


def _one(gaps: pd.DataFrame, arm: str, what: str, less: str, quantity: str = ALONE):
    rows = gaps[(gaps["arm"] == arm) & (gaps["what"] == what) & (gaps["less"] == less) & (gaps["quantity"] == quantity)]
    return next(rows.itertuples(), None)
