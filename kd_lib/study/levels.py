"""Where the shares of Gardner (2022) come from: how often maps are like the ensemble's under one setting after another.

The thesis does not say all of how it computed its maps. Each row changes one thing; some settings need other maps and
are choices (`sensitivity.compare`), the rest is computed here from the maps that there are.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from kd_lib.measures import threshold
from kd_lib.measures.similarity import pearson
from kd_lib.measures.transfer import COMPONENT, DISTILLED, LEFT_OUT
from kd_lib.study import sensitivity
from kd_lib.study.reading import ENSEMBLE, TARGETS, Study

PUBLISHED = {  # shares of Gardner (2022), section 4.3
    (COMPONENT, "on target"): 0.78,
    (COMPONENT, "off target"): 0.52,
    (DISTILLED, "on target"): 0.98,
    (DISTILLED, "off target"): 0.87,
}
THESIS = "Gardner (2022)"
NEAR = 0.05  # a share that close to the thesis's is taken for it
COLUMNS = ("setting", "T_c", "kind", "target", "share")
Maps = Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]  # maps of a network of a kind, by name, and their like


def shares(here: Study, similarity: pd.DataFrame, under_choices: pd.DataFrame) -> pd.DataFrame:
    """Share of maps that are like the ensemble's, by setting; kept as the table `rq3_levels`.

    Parameters
    ----------
    here : Study
    similarity : DataFrame
        Of maps to the ensemble's, as of `rq3.to_ensemble`.
    under_choices : DataFrame
        What `sensitivity.compare` returned.

    Returns
    -------
    DataFrame
        A row a setting, kind ('component' or 'distilled') and target: setting, T_c, kind, target, share. The first
        setting is the thesis; then come this run's own, its choices, and what is computed here: each component left out
        of the ensemble; other similarities of the same maps; networks trained less, where maps of several components
        are stored at every epoch (they and their own ensemble, at that epoch). No rows without an ensemble.
    """
    rows = [(THESIS, threshold.PUBLISHED, *which, share) for which, share in PUBLISHED.items()]
    if here.has_ensemble:
        rows += _of_choices(under_choices)
        t_c = here.t_c
        left_out = similarity[similarity["kind"] != COMPONENT].replace({"kind": {LEFT_OUT: COMPONENT}})
        known = {
            "each component left out of the ensemble": _shares(left_out, "pearson", t_c),
            "cosine instead of Pearson": _shares(similarity, "cosine", t_c),
        }
        known |= {setting: _above(own, here.labels, t_c, alike) for setting, own, alike in _settings(here)}
        rows += [(setting, t_c, *which, share) for setting, found in known.items() for which, share in found.items()]
    table = pd.DataFrame(rows if here.has_ensemble else [], columns=list(COLUMNS))
    here.keep(table, "rq3_levels")
    return table


def _of_choices(under_choices: pd.DataFrame) -> Iterator[tuple]:
    for choice, found in under_choices.groupby("choice", sort=False):
        values = found.set_index("headline")["value"]
        for kind, target in PUBLISHED:
            if (name := f"{kind} like the ensemble, {target}") in values:
                yield choice, values[sensitivity.headlines.T_C], kind, target, values[name]


def _shares(similarity: pd.DataFrame, measure: str, t_c: float) -> dict[tuple[str, str], float]:
    """Share of maps from T_c on by a similarity that is known, by kind and target."""
    found = (similarity[measure] >= t_c).groupby([similarity["kind"], similarity["target"]]).mean()
    return {which: float(found[which]) for which in PUBLISHED if which in found}


def _settings(here: Study) -> Iterator[tuple[str, Maps, Callable]]:
    """Give settings of another similarity, or of other epochs: name, maps with their like, and the similarity."""
    whole, kinds = here.maps(ENSEMBLE), dict.fromkeys(here.components, COMPONENT)
    if here.distilled:
        kinds[here.distilled] = DISTILLED
    own = {(kind, name): (here.maps(name), whole) for name, kind in kinds.items()}
    yield "only what raises the output", own, lambda a, b: pearson(np.maximum(a, 0), np.maximum(b, 0))
    yield "size without sign", own, lambda a, b: pearson(np.abs(a), np.abs(b))
    members = [name for name in here.explained_at_every_epoch if name in here.components]
    last = here.run.checkpoints.last_epoch(members[0]) if len(members) > 1 else 0
    for epoch in sorted({max(1, last * part // 8) for part in (1, 2, 4, 6, 8)} if last else ()):
        outputs = [here.outputs(name, epoch) for name in members]
        together = here.saliency_maps(np.stack(outputs).mean(0))
        early = {(COMPONENT, n): (here.saliency_maps(o), together) for n, o in zip(members, outputs, strict=True)}
        yield f"{', '.join(members)} and their ensemble after {epoch} of {last} epochs", early, pearson


def _above(own: Maps, labels: np.ndarray, t_c: float, alike: Callable) -> dict[tuple[str, str], float]:
    """Share of maps from T_c on, by kind and target."""
    close = {which: alike(*both) >= t_c for which, both in own.items()}
    on = labels[:, None] == np.arange(next(iter(close.values())).shape[1])
    found = {}
    for kind in dict.fromkeys(kind for kind, _ in close):
        reached = np.stack([above for (own_kind, _), above in close.items() if own_kind == kind])
        for target, at in ((TARGETS[True], on), (TARGETS[False], ~on)):
            found[kind, target] = float(reached[:, at].mean())
    return found


def table(levels: pd.DataFrame) -> pd.DataFrame:
    """Lay out what `shares` returned to be read: a setting a row, in %."""
    wide = levels.pivot(index=["setting", "T_c"], columns=["kind", "target"], values="share") * 100
    order = levels[["setting", "T_c"]].drop_duplicates()
    return wide.reindex(index=pd.MultiIndex.from_frame(order), columns=pd.MultiIndex.from_tuples(PUBLISHED)).round(1)


def in_words(levels: pd.DataFrame) -> str:
    """Say which setting comes nearest to all four shares of the thesis, and whether that is near enough."""
    wide = levels.pivot(index="setting", columns=["kind", "target"], values="share").reindex(columns=list(PUBLISHED))
    apart = (wide.drop(index=THESIS, errors="ignore") - pd.Series(PUBLISHED)).abs().dropna().max(axis=1)
    if not len(apart):
        return "No setting has all four shares."
    nearest, least = apart.idxmin(), 100 * apart.min()
    said = f"Of {len(apart)} settings with all four shares, the nearest to the thesis is: {nearest}"
    found = "which gives the thesis's levels" if least <= 100 * NEAR else "so none of them gives the thesis's levels"
    return f"{said} (the worst of the four is {least:.1f} points off), {found}."
