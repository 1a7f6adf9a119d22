"""What `rq2` says: how alike the components' maps are, between which bounds, and which features and views they use."""

from typing import Any

import numpy as np
import pandas as pd

from kd_lib._workers import in_threads
from kd_lib.measures import bounds as references
from kd_lib.measures import gaps, similarity, statistics, transfer, utilisation, views
from kd_lib.measures import lottery as chance
from kd_lib.networks.architectures import SHUFFLED
from kd_lib.people import annotate, features
from kd_lib.study import threshold, truth
from kd_lib.study.reading import TARGETS, Study

bands = references.bands
PAIRS, SAME_VIEWS = "two components", "two components that use the same views"


def pairs(here: Study) -> pd.DataFrame:
    """Similarity of the maps of every two networks that are compared, with their names in a column pair."""
    found = here.named(threshold.pairs(here, here.compared))
    return found.assign(pair=found["model_a"] + " – " + found["model_b"])


def bounds(here: Study) -> pd.DataFrame:
    """Floors and ceilings of similarity in this run, see `measures.bounds`; every network, in one frame."""
    shuffled = here.maps(SHUFFLED) if SHUFFLED in here.controls else None

    def of(name: str) -> list[pd.DataFrame]:
        final, epochs = here.maps(name), here.run.checkpoints.epochs(name)
        frames = [references.floors(final, here.labels, model=name)]
        if shuffled is not None:
            ids = {"kind": references.SHUFFLED_LABELS, "model": name}
            frames.append(similarity.compare(final, shuffled, here.labels, **ids))
        if name in here.explained_at_every_epoch:
            stored = {epoch: here.maps(name, epoch) for epoch in (epochs[0], epochs[-2])} | {epochs[-1]: final}
            frames.append(references.over_training(stored, here.labels, model=name))
        return frames

    found = in_threads(of, here.networks)
    in_order = [frames[part] for part in range(3) for frames in found if part < len(frames)]  # each kind's together
    return here.named(pd.concat(in_order, ignore_index=True))


def differ(here: Study, pairs: pd.DataFrame, bounds: pd.DataFrame, *, view_share: float) -> pd.DataFrame:
    """Tell how much less often pairs of components are alike than maps that show the same features would be.

    Even those do not all reach T_c. On drawn images they are the pairs whose networks use the same views, by
    intervention; elsewhere the last two epochs of one network. Image by image, see `transfer.contrasts`; less says
    which it is. Kept as the table `rq2_differ`.
    """
    rows, reference = bounds[bounds["kind"] == references.LAST_TWO], references.LAST_TWO
    if here.drawn:
        rows, reference = pairs[_same_views(here, pairs, view_share)], SAME_VIEWS
    frame = pd.concat([pairs.assign(kind=PAIRS), rows.assign(kind=reference)], ignore_index=True)
    frame["share"] = (frame["pearson"] >= here.t_c).astype(float)
    found = transfer.contrasts(frame, [(PAIRS, reference)], column="kind", value="share")
    return here.keep(found, "rq2_differ", view_share=view_share)


def _same_views(here: Study, pairs: pd.DataFrame, view_share: float) -> np.ndarray:
    """Whether the networks of each pair of maps use the same views, by intervention, as bool."""
    numbers = pairs.assign(target=pairs["class"].map({name: k for k, name in enumerate(here.class_names)}))
    return truth.same_views(here, numbers, view_share=view_share)


def quantiles(pairs: pd.DataFrame) -> pd.DataFrame:
    """Quantiles of the similarity of two components' maps, by class and target, as box plots show them."""
    return statistics.quantiles(pairs, "pearson", by=["class", "target"]).assign(kind="component")


def sweep(pairs: pd.DataFrame, bounds: pd.DataFrame) -> pd.DataFrame:
    """Share of maps above every threshold: of pairs of components, floors and ceiling."""
    bands = bounds.assign(kind=references.band_of(bounds["kind"]))
    own = transfer.shares_by_threshold(pairs, by=["target"]).assign(kind="component")
    return pd.concat([own, transfer.shares_by_threshold(bands, by=["kind", "target"])])


# ---- features that people tick ---------------------------------------------------------------------------------------


def ask(here: Study, class_name: str, *, annotator: str) -> Any:
    """Ask an annotator which features maps of a class show, see `people.annotate_features`; without a name, show one.

    Without a class it is the first one that has a list of features; None where there is none.
    """
    listed = (name for name in here.class_names if features.default_features(here.annotations, name))
    if not (chosen := class_name or next(listed, None)):
        return None
    asked = here.to_ask(None if annotator else here.networks[:1])
    return annotate.annotate_features(*asked, chosen, annotator=annotator)


def feature_agreement(here: Study) -> dict[str, pd.DataFrame]:
    """Cohen's kappa of every two annotators by class, under a title that says Krippendorff's alpha of all."""
    return {
        f"{title}: Krippendorff's alpha of {table['annotators']} annotators {table['alpha']:.2f}": table["kappas"]
        for title, table in features.feature_agreement(here.annotations).items()
    }


def utilised(here: Study) -> tuple[dict[str, pd.DataFrame], str]:
    """Utilisation (networks by features) of each class for which it is known, and where it is known from."""
    if ticked := features.read_tables(here.run.annotations):
        return {table: utilisation.utilisation(*both) for table, both in ticked.items()}, "ticked by people"
    if not here.drawn:
        return {}, "none (no tables in annotations/)"
    return truth.views_shown(here, here.networks), "views of the multi-view images that the maps show"


def utilisation_cells(utilised: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Long-form: columns network, feature, utilisation."""
    cells = [u.melt(ignore_index=False, var_name="feature", value_name="utilisation") for u in utilised.values()]
    return pd.concat(cells).reset_index(names="network")


def cosines(here: Study, utilised: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Cosine similarity of every two networks' utilisation vectors, long-form; kept as the table `rq2_cosine`."""
    matrix = utilisation.cosine_matrix(pd.concat(utilised.values(), axis=1)).rename_axis("network")
    cells = matrix.melt(ignore_index=False, var_name="other network", value_name="cosine").reset_index()
    return here.keep(cells, "rq2_cosine")


# ---- views, by intervention ------------------------------------------------------------------------------------------


def view_use(here: Study, *, view_share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare what networks use with what their maps show, by image (kept as `rq2_view_use`) and by network."""
    use = here.keep(truth.view_use(here, view_share=view_share), "rq2_view_use", view_share=view_share)
    columns = ["importance", "hit", "any view", "untrained", "mass", "area", "agreement"]
    columns = [column for column in columns if column in use]
    return use, statistics.interval_table(use, columns, by="network", clusters="image")


def confusion(here: Study, pairs: pd.DataFrame, *, view_share: float) -> pd.DataFrame:
    """Whether networks use the same views, by whether their maps are above T_c; kept as the table `rq2_confusion`."""
    same = _same_views(here, pairs, view_share)
    above = (pairs["pearson"] >= here.t_c).to_numpy()
    chosen = {name: (pairs["target"] == name).to_numpy() for name in TARGETS.values()}
    found = pd.DataFrame({name: views.confusion(same[rows], above[rows]) for name, rows in chosen.items()}).T
    here.keep(found.rename_axis("target").reset_index(), "rq2_confusion", view_share=view_share)
    return found


def same_views(here: Study, pairs: pd.DataFrame, *, view_share: float) -> pd.DataFrame:
    """Share of the pairs of components that truly use the same views of an image, by intervention; `rq2_same_views`.

    Columns target, share, low, high (95 % bootstrap over images), maps, images.
    """
    frame = pairs.assign(pearson=_same_views(here, pairs, view_share).astype(float))
    found = transfer.shares_above(frame, 0.5, by="target").drop(columns="undefined")
    return here.keep(found, "rq2_same_views", view_share=view_share)


def single_view_accuracy(here: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy on test images that show a single view: answer by answer, and by network, class and view.

    For the answers see `truth.single_view_answers`; right is called single-view accuracy. By view, columns network,
    class, view, accuracy, images; kept as the table `rq2_views_known`.
    """
    answers = truth.single_view_answers(here)
    by_view = answers.groupby(["network", "class", "view"], sort=False)["right"].agg(["mean", "size"]).reset_index()
    by_view = here.keep(by_view.rename(columns={"mean": "accuracy", "size": "images"}), "rq2_views_known")
    return answers.rename(columns={"right": "single-view accuracy"}), by_view


def views_known(use: pd.DataFrame, answers: pd.DataFrame, by_view: pd.DataFrame) -> pd.DataFrame:
    """Tell how many views each network uses in an image, and knows, and its accuracy on single-view images."""
    known = by_view.assign(known=by_view["accuracy"] > 0.5).groupby("network", sort=False)["known"].sum()
    numbers = [
        statistics.interval_table(frame, [column], by="network", clusters="image")
        for frame, column in ((use, "used"), (answers, "single-view accuracy"))
    ]
    every = len(by_view) // len(known)
    return numbers[0].join(numbers[1]).assign(**{"views known": known.map(lambda n: f"{n} of {every}")})


def view_gaps(here: Study, use: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Differences in the views that kinds of network use and know, see `gaps.of_views`; kept as `rq2_view_gaps`."""
    return here.keep(gaps.of_views(use, answers, here.components, here.distilled), "rq2_view_gaps")


def view_cells(here: Study, by_view: pd.DataFrame) -> pd.DataFrame:
    """Name the views of `single_view_accuracy`, as a heat map shows them."""
    names = zip(by_view["class"], by_view["view"], strict=True)
    return by_view.assign(view=[f"{here.class_names[k]} view {v + 1}" for k, v in names], mean=by_view["accuracy"])


def lottery(here: Study, answers: pd.DataFrame, *, view_share: float) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Whether components differ in which views they use and know, see `measures.lottery`; with sentences.

    `answers` are those of `single_view_accuracy`. Kept as the tables `rq2_lottery` (a row a view) and
    `rq2_lottery_summary`, both with a column what: 'used', by intervention, or 'single-view accuracy'.
    """
    used = truth.own_views_used(here, here.components, view_share=view_share)
    of_components = answers[answers["network"].isin(here.components)]
    tables, parts, said = [], [], []
    for frame, what in ((used, "used"), (of_components, "single-view accuracy")):
        table, part = chance.by_view(frame, what), chance.summary(frame, what)
        tables.append(table.assign(what=what))
        parts.append(part.assign(what=what))
        said.append(chance.in_words(table, part, what))
    by_view, summary = (pd.concat(frames, ignore_index=True) for frames in (tables, parts))
    here.keep(by_view, "rq2_lottery", view_share=view_share)
    return by_view, here.keep(summary, "rq2_lottery_summary", view_share=view_share), said


def lottery_table(here: Study, by_view: pd.DataFrame) -> pd.DataFrame:
    """Name the views of `lottery`, for a page: the lowest, mean and highest rate of a component, Q and its p."""
    names = zip(by_view["class"], by_view["view"], strict=True)
    named = by_view.assign(view=[f"{here.class_names[int(k)]} view {int(v) + 1}" for k, v in names])
    return named.set_index(["what", "view"])[["images", "lowest", "rate", "highest", "Q", "p (Holm)"]].round(3)


def checks(shares: pd.DataFrame) -> list[str]:
    """Say what the notebook claims of its shares above T_c, and whether it is so."""
    share = shares.set_index("target")["share"]
    if share.isna().any() or len(share) != 2:
        return ["No two networks whose maps can be compared."]
    return [
        f"the share of on-target pairs above T_c is clearly below 1 (under 0.95): {bool(share['on target'] < 0.95)}",
        f"components agree more on target than off target: {bool(share['on target'] > share['off target'])}",
    ]
