"""How far annotators agree with one another and with themselves, and what they say together."""

import warnings
from itertools import combinations

import krippendorff
import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

FEWEST = 2  # common units without which no coefficient means anything


def majority(answers: pd.DataFrame) -> pd.DataFrame:
    """Give each unit of `answers` (as of `alpha`) the answer of most annotators.

    The index is unit, in order of appearance; columns are answer (None where two have the most votes) and annotators.
    """
    votes = answers.groupby(["unit", "answer"], sort=False).size().rename("votes").reset_index()
    most = votes[votes["votes"] == votes.groupby("unit")["votes"].transform("max")]
    tied = most["unit"].duplicated(keep=False)
    merged = most.assign(answer=most["answer"].astype(object).where(~tied, None)).drop_duplicates("unit")
    merged = merged.set_index("unit")[["answer"]]
    return merged.assign(annotators=votes.groupby("unit")["votes"].sum()).reindex(answers["unit"].unique())


def kappas(answers: pd.DataFrame) -> pd.DataFrame:
    """Cohen's kappa of every two annotators, by `answers` as of `alpha`.

    Returns
    -------
    DataFrame
        A row for every two annotators: annotator_a, annotator_b, common (units that both answered), equal (share of
        them with the same answer), kappa; NaN where fewer than two are common, and kappa also where both only ever
        gave one and the same answer.

    References
    ----------
    Cohen (1960), "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20, 37-46.
    """
    rows = []
    for a, b in combinations(answers["annotator"].unique(), 2):
        one, other = (answers[answers["annotator"] == name].set_index("unit")["answer"] for name in (a, b))
        units = one.index.intersection(other.index)
        row = {"annotator_a": a, "annotator_b": b, "common": len(units), "equal": np.nan, "kappa": np.nan}
        if len(units) >= FEWEST:
            one, other = one[units].astype(str).to_numpy(), other[units].astype(str).to_numpy()
            row["equal"] = float(np.mean(one == other))
            if len({*one, *other}) > 1:
                row["kappa"] = float(cohen_kappa_score(one, other))
        rows.append(row)
    return pd.DataFrame(rows, columns=["annotator_a", "annotator_b", "common", "equal", "kappa"])


def alpha(answers: pd.DataFrame) -> float:
    """Krippendorff's alpha, nominal, of all annotators together; not everybody has to have answered everything.

    Parameters
    ----------
    answers : DataFrame
        Columns annotator, unit, answer; at most one answer an annotator and unit.

    Returns
    -------
    float
        1 for full agreement, 0 for that of chance; NaN where fewer than two units have two answers or all answers
        are equal.

    References
    ----------
    Krippendorff (2011), "Computing Krippendorff's alpha-reliability", University of Pennsylvania.
    """
    if answers["unit"].duplicated().sum() < FEWEST or answers["answer"].nunique() < 2:
        return float("nan")
    codes = answers.assign(answer=pd.factorize(answers["answer"])[0])
    table = codes.pivot(index="annotator", columns="unit", values="answer")
    with warnings.catch_warnings():  # 0 / 0 where all that can be paired is equal
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(krippendorff.alpha(table.to_numpy(dtype=float), level_of_measurement="nominal"))


def with_oneself(first: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """Self-agreement: how often somebody who was asked twice said the same, by answers of the first and second time.

    The index is annotator (those of `first`); columns are repeated (units answered twice) and self_agreement (share of
    them with the same answer; NaN where there are none).
    """
    both = first.merge(again, on=["annotator", "unit"], suffixes=("", "_again"))
    equal = (both["answer"] == both["answer_again"]).groupby(both["annotator"]).agg(["size", "mean"])
    table = equal.reindex(first["annotator"].unique()).set_axis(["repeated", "self_agreement"], axis=1)
    return table.assign(repeated=table["repeated"].fillna(0).astype(int)).rename_axis("annotator")
