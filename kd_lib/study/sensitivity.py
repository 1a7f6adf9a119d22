"""Would other choices give other answers? The headlines of the study under each of several choices."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kd_lib import _workers
from kd_lib.measures.statistics import Interval
from kd_lib.study import choices, headlines
from kd_lib.study import threshold as study_threshold
from kd_lib.study.reading import Study

DEFAULT = "this run"  # name of the choices that the run itself made
COLUMNS = ("choice", *headlines.COLUMNS)
SURVIVES, LOST, REVERSED, UNKNOWN = "survives", "cannot tell", "reversed", "no answer to begin with"


def compare(
    here: Study,
    names: Sequence[str],
    *,
    threshold: float | None = None,
    view_share: float = 0.5,
    seed: int = 0,
    device: str = "auto",
    executor: str = "",
) -> pd.DataFrame:
    """Headlines of the study under each of several choices; computes what a choice still lacks.

    `names` are choices, see `choices.read`, which may raise a ValueError; `here` is of a run whose threshold is
    determined. `threshold` is T_c for all of them; by default each has its own, determined by the rule that gave the
    run's. For the others see `threshold.determine`, `Study.network` and `pipeline.train`.

    Gives the columns choice, question, headline, value, low, high, see `headlines.of_maps`. The run's own choices come
    first, by the name `DEFAULT`. Accuracies and views known are there if a choice trains anew, for it and for the run.
    """
    chosen, used = choices.read(names, here), None if threshold is not None else here.used_threshold
    rule = {"view_share": view_share, "seed": seed}
    own = _given(threshold)
    if used is not None:
        loss = "log" if used["loss"] == "published" else used["loss"]
        rule |= {"measure": used["measure"], "loss": loss}
        own = Interval(*(float(used.get(name, np.nan)) for name in ("value", "low", "high")))  # published: value alone
    anew = any(choice.training for choice in chosen)
    found = [_headlines(here, own, DEFAULT, networks=anew, device=device)]
    with _workers.connect(executor) as client:
        for choice in chosen:
            print(f"choice: {choice.name}", flush=True)
            other = choices.carry_out(choice, here, device=device, executor=client)
            t_c = _given(threshold) if threshold is not None else study_threshold.determine(other, **rule)
            found.append(_headlines(other, t_c, choice.name, networks=bool(choice.training), device=device))
    return pd.concat(found, ignore_index=True)[list(COLUMNS)]


def _headlines(here: Study, t_c: Interval, choice: str, *, networks: bool, device: str) -> pd.DataFrame:
    frames = [headlines.of_maps(here, t_c), *([headlines.of_networks(here, device=device)] if networks else [])]
    return pd.concat(frames).assign(choice=choice)


def _given(value: float | None) -> Interval:
    return Interval(np.nan if value is None else float(value), np.nan, np.nan)


def beside_default(frame: pd.DataFrame) -> pd.DataFrame:
    """Put the run's own value of each headline beside that of every choice.

    To the rows that `compare` returned it adds the columns default, and differs: whether the choice's interval excludes
    it.
    """
    own = frame[frame["choice"] == DEFAULT].set_index("headline")["value"]
    default = frame["headline"].map(own)
    return frame.assign(default=default, differs=(default < frame["low"]) | (default > frame["high"]))


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """Lay out what `beside_default` returned to be read: headlines by choices, a star where the choice differs."""
    texts = frame.assign(text=[_text(row) + " *" * row.differs for row in frame.itertuples()])
    wide = texts.pivot(index=["question", "headline"], columns="choice", values="text")
    order = frame[["question", "headline"]].drop_duplicates()
    wide = wide.reindex(index=pd.MultiIndex.from_frame(order), columns=list(dict.fromkeys(frame["choice"])))
    return wide.fillna("–")


def verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """Say which answers survive which choice.

    A headline that is a difference (distilled less leave-one-out) answers by its sign. The sign is known where the
    interval excludes 0. It survives a choice under which it is known too, and the same.

    Of what `compare` returned, a row a choice other than the run's own and a difference that both have: question,
    headline, choice, value, low, high, times (the value over the run's own), sign (of the run's own: 1, -1, or 0 where
    unknown), verdict: 'survives', 'cannot tell' (the interval holds 0), 'reversed' (the other sign is known), 'no
    answer to begin with' (unknown under the run's own choices).
    """
    differences = frame[frame["headline"].map(headlines.is_difference)]
    signed = differences.assign(known=(differences["low"] > 0) * 1 - (differences["high"] < 0) * 1)
    own = signed[signed["choice"] == DEFAULT].set_index("headline")["known"]
    others = signed[(signed["choice"] != DEFAULT) & signed["headline"].isin(own.index)]
    sign = others["headline"].map(own)
    conditions = [sign == 0, others["known"] == sign, others["known"] == 0]
    verdict = np.select(conditions, [UNKNOWN, SURVIVES, LOST], REVERSED)
    columns = ["question", "headline", "choice", "value", "low", "high", "times", "sign", "verdict"]
    times = others["value"] / others["headline"].map(signed[signed["choice"] == DEFAULT].set_index("headline")["value"])
    return others.assign(sign=sign, verdict=verdict, times=times)[columns].reset_index(drop=True)


def sentences(frame: pd.DataFrame) -> list[str]:
    """Say in words what `verdicts` found, a sentence a headline, after a word on choices without a T_c of their own."""
    t_c = frame[frame["headline"] == headlines.T_C]
    without = t_c[t_c["low"].isna()]
    said, found = [], verdicts(frame)
    if len(without) < len(t_c):
        said += [
            f"{row.choice}: no labels fix a threshold for its maps, so the published {row.value:.2f} counts; its "
            "shares above T_c are not comparable with the others, its similarities are."
            for row in without.itertuples()
        ]
    for (question, headline), rows in found.groupby(["question", "headline"], sort=False):
        sign, what = rows["sign"].iloc[0], f"{question}, {headline}"
        if sign == 0:
            said.append(f"{what}: this run's own choices give no answer (the interval holds 0).")
            continue
        side = f"{'above' if sign > 0 else 'below'} 0"
        lost = rows[rows["verdict"] != SURVIVES]
        if lost.empty:
            sizes = f"{rows['times'].min():.2f} to {rows['times'].max():.2f} times as large"
            said.append(f"{what}: {side}, and so under every other choice ({len(rows)} of {len(rows)}), {sizes}.")
        else:
            which = "; ".join(f"{row.choice}: {row.verdict}, {_text(row)}" for row in lost.itertuples())
            said.append(f"{what}: {side}, but not under {len(lost)} of {len(rows)} other choices ({which}).")
    if found.empty:
        said.append("No headline is a difference that several choices have: nothing can survive or fail.")
    return said


def _text(row) -> str:
    return f"{row.value:.2f}" if np.isnan(row.low) else f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})"
