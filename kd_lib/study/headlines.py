"""The handful of numbers that are the study's result, so that they can be held beside those of another choice.

A headline that says how much more there is of one thing than of another has `less` in its name: its sign answers.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from kd_lib.measures import learning, transfer, views
from kd_lib.measures.statistics import Interval, interval, percentiles, share
from kd_lib.study import rq1, rq2, rq3, truth
from kd_lib.study.reading import ENSEMBLE, Study

COLUMNS = ("question", "headline", "value", "low", "high")
ON, OFF = "on target", "off target"
T_C = "T_c"
Row = tuple[str, str, Interval]


def is_difference(headline: str) -> bool:
    """Whether a headline is a difference, whose sign is an answer; else it is a level."""
    return " less " in headline


def of_maps(here: Study, t_c: Interval) -> pd.DataFrame:
    """Compute what the maps of a run say.

    Columns question, headline, value, low, high (95 % bootstrap over images). T_c itself, as given; of RQ1, the share
    of maps that have arrived half-way through training; of RQ2, the share of pairs of maps above T_c; of RQ3, the
    shares above T_c, and how much more the distilled network has of share and of mean similarity than leave-one-out.
    What a run cannot say (without epochs, with one network, without an ensemble) has no row.
    """
    rows: list[Row] = [("threshold", T_C, t_c)]
    if names := here.explained_at_every_epoch:
        every = here.run.checkpoints.epochs
        first_half = {name: every(name)[: (len(every(name)) - 1) // 2 + 1] for name in names}
        similarities = rq1.similarity_to_final(here, first_half).values()
        arrived = pd.concat([_arrived(similarity, here.labels, t_c.estimate) for similarity in similarities])
        rows += shares("RQ1", "arrived half-way", arrived)
    if len(here.compared) > 1:
        rows += shares("RQ2", "two components alike", _above(rq2.pairs(here), t_c))
    frame = _above(rq3.to_ensemble(here), t_c)
    for kind in ("component", "leave-one-out", "distilled"):
        rows += shares("RQ3", f"{kind} like the ensemble", frame[frame["kind"] == kind])[:2]
    beside = _above(rq3.beside_the_same(here, frame), t_c)
    for what, column in (("like the ensemble", "above"), ("similarity", "pearson")):
        gains = transfer.gain(beside, opponents=["leave-one-out"], similarity=column).set_index("target")
        for target, gain in gains.reindex([ON, OFF]).dropna(subset="difference").iterrows():
            numbers = Interval(gain["difference"], gain["low"], gain["high"])
            rows.append(("RQ3", f"{what}, distilled less leave-one-out, {target}", numbers))
    return _frame(rows)


def of_networks(here: Study, *, device: str = "auto") -> pd.DataFrame:
    """Measure what the networks of a run can do on the test images, whatever their maps.

    Columns as of `of_maps`: accuracy (in [0, 1]) of a component (their mean), the ensemble and the distilled network,
    and how much more accurate these two are; on multi-view images also the share of views that each knows.
    """
    finals = here.with_ensemble
    kinds = {"component": here.components, "ensemble": [ENSEMBLE], "distilled": [here.distilled]}
    kinds = {kind: own for kind, own in kinds.items() if own and set(own) <= set(finals)}
    true = here.dataset.test.labels
    right = {name: here.answers(name, device=device).argmax(1) == true for name in finals}
    by_image = {kind: np.mean([right[name].numpy() for name in own], axis=0) for kind, own in kinds.items()}
    rows = _kinds("accuracy", "accuracy", by_image, interval)
    if here.drawn:
        answers = truth.single_view_answers(here, device=device)
        answers = answers.pivot(index=["image", "class", "view"], columns="network", values="right")
        view = [f"{k}/{v}" for _, k, v in answers.index]
        known = pd.DataFrame(views.views_known(answers, view), columns=answers.columns)
        by_draw = {kind: known[own].mean(axis=1).to_numpy() for kind, own in kinds.items()}
        rows += _kinds("views", "views known", by_draw, _percentiles) if view else []
    return _frame(rows)


def shares(question: str, what: str, frame: pd.DataFrame) -> list[Row]:
    """Share of maps that are above something on target, off target, and how much larger it is on target.

    `frame` has a row a map: image, target ('on target' or 'off target'), above (bool); `question` is what it answers,
    and `what` what there is a share of. With 95 % bootstrap intervals over images; none for an empty frame.
    """
    rows = [
        (question, f"{what}, {target}", share(group["above"], group["image"]))
        for target in (ON, OFF)
        if len(group := frame[frame["target"] == target])
    ]
    by_image = frame.astype({"above": float}).pivot_table(index="image", columns="target", values="above")
    if {ON, OFF} <= set(by_image):
        rows.append((question, f"{what}, on less off target", interval((by_image[ON] - by_image[OFF]).dropna())))
    return rows


def _kinds(
    question: str, what: str, found: Mapping[str, np.ndarray], summary: Callable[[np.ndarray], Interval]
) -> list[Row]:
    """Rows of each kind of network, then of how much more the others have than a component."""
    rows = [(question, f"{what}, {kind}", summary(values)) for kind, values in found.items()]
    others = [kind for kind in found if kind != "component"] if "component" in found else []
    less = [(question, f"{what}, {k} less component", summary(found[k] - found["component"])) for k in others]
    return rows + less


def _percentiles(draws: np.ndarray) -> Interval:
    return Interval(*map(float, (draws[0], *percentiles(draws[1:]))))


def _arrived(similarity: np.ndarray, labels: np.ndarray, t_c: float) -> pd.DataFrame:
    """Whether each map has reached T_c in the epochs of which similarities (E, N, K) are given."""
    _, images, classes = similarity.shape
    on_target = labels[:, None] == np.arange(classes)
    columns = {
        "image": np.repeat(np.arange(images), classes),
        "target": np.where(on_target, ON, OFF).ravel(),
        "above": np.isfinite(learning.first_crossing(similarity, t_c)).ravel(),
    }
    return pd.DataFrame(columns)


def _above(frame: pd.DataFrame, t_c: Interval) -> pd.DataFrame:
    return frame.assign(above=(frame["pearson"] >= t_c.estimate).astype(float))


def _frame(rows: Iterable[Row]) -> pd.DataFrame:
    return pd.DataFrame([(question, name, *numbers) for question, name, numbers in rows], columns=COLUMNS)
