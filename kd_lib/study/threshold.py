"""What `threshold_determination` does and says: which pairs of maps are labelled, by whom, and the T_c that follows."""

from typing import Any

import numpy as np
import pandas as pd

from kd_lib.measures import discrimination
from kd_lib.measures import threshold as thresholds
from kd_lib.measures.similarity import pairs_of_components
from kd_lib.measures.statistics import Interval
from kd_lib.people import agreement, annotate, answers
from kd_lib.study import truth
from kd_lib.study.reading import TARGETS, Study

CRITERIA = {"relative": False, "absolute": True}  # of using a view: whether by an absolute size
PUBLISHED, binned, roc = thresholds.PUBLISHED, thresholds.binned, discrimination.roc_curves


def ask(here: Study, *, annotator: str, number: int) -> Any:
    """Ask an annotator about pairs of maps, see `people.annotate_pairs`; without a name, show a pair."""
    asked = here.to_ask(None if annotator else here.networks[:2])
    return annotate.annotate_pairs(*asked, annotator=annotator, number=number)


def pairs(here: Study, names: list[str] | None = None) -> pd.DataFrame:
    """Similarity of the maps of every two networks (all of the study by default), see `pairs_of_components`."""
    names = here.networks if names is None else names
    return pairs_of_components(list(here.maps_of(names).values()), here.labels, models=names)


def labelled(here: Study, pairs: pd.DataFrame, *, view_share: float) -> tuple[pd.DataFrame | None, str]:
    """Those pairs of maps that somebody or something has labelled, with a column `same`, and who or what it was.

    People's labels come first (`people.labels`), then on drawn images the views that the networks use; without either,
    or where no two maps can be compared, the frame is None.
    """
    said = answers.labels(here.annotations)
    if len(said.pairs):
        return thresholds.merge_labels(pairs, said.pairs), str(said)
    published = f"the published T_c = {thresholds.PUBLISHED} is used"
    if not here.drawn:
        return None, f"none; {published}"
    if pairs["pearson"].isna().all():
        return None, f"none, no two maps can be compared (one network, or maps that are constant or NaN); {published}"
    same = truth.same_views(here, pairs, view_share=view_share)
    found = pairs.assign(same=same).dropna(subset=["pearson", "cosine"])
    return found, "no people; ground truth of the multi-view images (the views used, by intervention)"


def labelled_by(here: Study, labelled: pd.DataFrame | None) -> str:
    """Say who labelled pairs: 'people', 'interventions' or 'nobody'."""
    if len(answers.labels(here.annotations).pairs):
        return "people"
    return "nobody" if labelled is None else "interventions"


def criteria(here: Study, pairs: pd.DataFrame, *, view_share: float, seed: int) -> pd.DataFrame:
    """Hold both criteria of *the same views* against similarity; kept as `threshold_criteria`.

    A row a criterion (relative, the one in use, or absolute, which was tried before) and target: criterion, pairs,
    share same, AUC, low, high. No rows where no view can be taken out of the images, or no two maps can be compared.
    """
    rows = []
    for criterion, by_size in CRITERIA.items() if here.drawn else ():
        same = truth.same_views(here, pairs, view_share=view_share, by_size=by_size)
        found = pairs.assign(same=same).dropna(subset=["pearson"])
        for name, part in _by_target(found).items():
            area = discrimination.areas_under_curve(part, measures=["pearson"], seed=seed).iloc[0]
            numbers = part["same"].mean(), area["AUC"], area["low"], area["high"]
            rows.append((criterion, name, len(part), *numbers))
    columns = ["criterion", "target", "pairs", "share same", "AUC", "low", "high"]
    return here.keep(pd.DataFrame(rows, columns=columns), "threshold_criteria", view_share=view_share, seed=seed)


def by_part(here: Study, labelled: pd.DataFrame, *, measure: str, loss: str, seed: int) -> pd.DataFrame:
    """Fit T_c on and off target by themselves, and on images of one view and of several; kept as `threshold_by_part`.

    See `thresholds.by_part`.
    """
    found = thresholds.by_part(_parts(here, labelled), measure=measure, loss=loss, seed=seed)
    return here.keep(found, "threshold_by_part", measure=measure, loss=loss, seed=seed)


def _by_target(labelled: pd.DataFrame) -> dict[str, pd.DataFrame]:
    on = labelled["on_target"]
    parts = {"all pairs": labelled, "on target": labelled[on], "off target": labelled[~on]}
    return {name: part for name, part in parts.items() if len(part)}


def _parts(here: Study, labelled: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Labelled pairs on and off target, and of drawn images with one view of their class and with several."""
    parts = _by_target(labelled)
    if (drawn := here.dataset.probe.views if here.drawn else None) is not None:
        single = drawn.single.numpy()[labelled["image"]]
        parts |= {"images of one view": labelled[single], "images of several views": labelled[~single]}
    return {name: part for name, part in parts.items() if len(part)}


def annotators(
    here: Study, pairs: pd.DataFrame, *, measure: str, loss: str, seed: int
) -> tuple[str, list[pd.DataFrame]]:
    """Say how well the annotators agree with themselves, with one another, and what T_c each one's answers give.

    Gives a sentence, and two frames: by annotator, see `answers.by_annotator` (kept as the table `annotators`), and
    Cohen's kappa of every two; none where nobody labelled pairs.
    """
    said = answers.labels(here.annotations)
    if said.answers.empty:
        return "Nobody has labelled pairs of this run, so there is no agreement to show.", []
    first = said.answers[~said.answers["again"] & (said.answers["answer"] != "cannot tell")]
    own = answers.by_annotator(said, pairs, measure=measure, loss=loss, seed=seed)
    here.keep(own.reset_index(), "annotators", measure=measure, loss=loss, seed=seed)
    alpha = f"Krippendorff's alpha: {agreement.alpha(first):.2f}"
    return f"{alpha}; {said.ties} ties, {said.cannot_tell} answers 'cannot tell'", [own, agreement.kappas(first)]


def fit(
    here: Study, labelled: pd.DataFrame | None, *, measure: str, loss: str, source: str, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit T_c by two measures and two losses, and choose; the table is kept as `threshold`.

    For the table and the curves see `thresholds.choose` and `thresholds.fit_all`.
    """
    table, curves = thresholds.fit_all(labelled, seed=seed)
    table = thresholds.choose(table, measure=measure, loss=loss, source=source)
    table["labelled by"] = np.where(table["loss"] == "published", "nobody", labelled_by(here, labelled))
    return here.keep(table, "threshold", measure=measure, loss=loss, seed=seed), curves


def examples(here: Study, labelled: pd.DataFrame) -> list[tuple[str, np.ndarray, list[np.ndarray]]]:
    """Labelled pairs to learn from, for `figures.map_grid`: what the label says, the image, and the two maps."""
    images, rows = here.dataset.probe.images.numpy(), []
    for row in thresholds.examples(labelled).itertuples():
        both = [here.maps(name)[row.image, row.target] for name in (row.model_a, row.model_b)]
        rows.append((f"{row.what}\nr = {row.pearson:.2f}", images[row.image], both))
    return rows


def areas(here: Study, labelled: pd.DataFrame, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Area under the ROC curve of four measures of similarity: all pairs, and some by themselves, see `by_part`.

    'on target, within images' (and off target) compares pairs of one image alone, by Pearson's correlation.

    The first frame has the columns pairs and those of `discrimination.areas_under_curve`, and is kept as the table
    `measures`; the second has the labelled pairs with all measures, of which `discrimination.roc_curves` draws.
    """
    measured = discrimination.measured(labelled, here.maps_of(here.networks), seed=seed)
    parts = _parts(here, measured)
    found = [discrimination.areas_under_curve(part, seed=seed).assign(pairs=name) for name, part in parts.items()]
    for name in filter(parts.__contains__, TARGETS.values()):
        within = discrimination.area_within_images(parts[name], seed=seed)._asdict()
        row = {"pairs": f"{name}, within images", "measure": "pearson", "AUC": within.pop("estimate")} | within
        found.append(pd.DataFrame([row]))
    found = pd.concat(found, ignore_index=True)
    return here.keep(found, "measures", seed=seed), measured


def determine(
    here: Study, *, measure: str = "pearson", loss: str = "log", view_share: float = 0.5, seed: int = 0
) -> Interval:
    """T_c by the rule of the notebook, with its interval.

    `measure` and `loss` are the fit asked for, see `thresholds.choose`; for `view_share` see `labelled`; `seed` is of
    the bootstrap. It is the published value, without an interval, where there are no labels or they fix none.
    """
    published = Interval(thresholds.PUBLISHED, np.nan, np.nan)
    if len(here.networks) < 2:
        return published
    found, _ = labelled(here, pairs(here), view_share=view_share)
    if found is None:
        return published
    try:
        fitted = thresholds.fit_threshold(found[measure], found["same"], loss=loss, clusters=found["image"], seed=seed)
    except ValueError:
        return published
    return Interval(fitted.value, fitted.low, fitted.high)
