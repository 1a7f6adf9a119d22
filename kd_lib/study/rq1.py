"""What `rq1` says: when maps come to look as they will in the end, where curves bend, and whether networks settle."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kd_lib._workers import in_threads
from kd_lib.measures import learning, second_transitions, transfer
from kd_lib.measures import settling as settling_measures
from kd_lib.networks.architectures import CONSTANT_RATE
from kd_lib.study import truth
from kd_lib.study.reading import TARGETS, Study

ALL = "all classes"
FITTED = 0.99  # accuracy on the training images from which on they count as learnt
GAPS = ["what", "less", "target", "difference", "low", "high"]
CLASS = ["model", "class", "target", "on_target"]  # what tells the curves of classes apart


def similarity_to_final(here: Study, epochs: Mapping[str, Sequence[int]] | None = None) -> dict[str, np.ndarray]:
    """Pearson similarity (E, N, K) of networks' maps to their own final ones, epoch by epoch.

    `epochs` says of which networks, and at which epochs; by default all of those that are explained at every epoch.
    """
    if epochs is None:
        epochs = {name: here.run.checkpoints.epochs(name) for name in here.explained_at_every_epoch}
    here.maps_of(list(epochs))  # the final ones, of which each state needs one
    states = [(name, epoch) for name, own in epochs.items() for epoch in own]
    found = iter(in_threads(lambda state: here.similarity_to_final(*state), states))
    return {name: np.stack([next(found) for _ in own]) for name, own in epochs.items()}


def arrivals(here: Study, similarity: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """When each map reaches T_c, for the first time and for good, see `learning.arrivals`; with the class's name."""
    return here.named(learning.arrivals(similarity, here.labels, here.t_c))


def crossing_times(arrivals: pd.DataFrame) -> pd.DataFrame:
    """When maps arrive, of all networks together (model 'all') and of each, see `learning.crossing_times`."""
    together = learning.crossing_times(arrivals, by=["target"]).assign(model="all")
    return pd.concat([together, learning.crossing_times(arrivals, by=["model", "target"])], ignore_index=True)


def medians(times: pd.DataFrame) -> list[str]:
    """Say by when half of the maps of all networks have arrived."""
    said = []
    for row in times[times["model"] == "all"].to_dict("records"):
        seen = np.isfinite(row["median"])
        by = f"by epoch {row['median']:.0f}" if seen else "only with the last epoch, by construction"
        said.append(
            f"{row['target']}, {row['crossing']} arrival: half of the maps {by}; "
            f"{row['censored']:.1%} not before the last epoch, {row['undefined']:.1%} constant in the end"
        )
    return said


def curves(here: Study, arrivals: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cumulative shares of maps that have arrived: of each network, and their mean over networks; kept as tables."""
    found = _curves(arrivals, ["model", "target", "on_target"])
    _keep_crossings(here, found, "rq1_curves")
    return found, here.keep(learning.over_networks(found, by=["target", "crossing"]), "rq1_bands")


def by_class(here: Study, arrivals: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Class by class: the curves, their transitions and those of all classes together, and second transitions.

    See `learning.arrival_curves` and `learning.onsets`; second transitions are those on target. Kept as tables.
    """
    found = _curves(arrivals, CLASS)
    onsets, second = learning.onsets(arrivals, by=CLASS)
    whole = learning.onsets(arrivals, by=["model", "target"])[0].assign(**{"class": ALL})
    _keep_crossings(here, found, "rq1_curves_by_class")
    here.keep(onsets, "rq1_transitions")
    here.keep(whole, "rq1_transitions_overall")
    second = here.keep(second[second["target"] == "on target"], "rq1_second_transitions")
    return found, pd.concat([whole, onsets]), second


def on_target(transitions: pd.DataFrame) -> pd.DataFrame:
    """Transitions of on-target curves; phase says whether learning slows down, or does so again after a rise."""
    found = transitions[transitions["target"] == "on target"]
    return found.assign(phase=np.where(found["distinct"].astype(bool), "again", "slower"))


def named_bends(transitions: pd.DataFrame) -> pd.DataFrame:
    """First bend of every class's curve, and those that follow a rise."""
    named = (transitions["transition"] == 1) | transitions["distinct"].astype(bool)
    return transitions[named & (transitions["class"] != ALL)]


def onsets(transitions: pd.DataFrame) -> pd.DataFrame:
    """First transition of each class: means over the networks that have one, their widest bounds, and how many do."""
    rows = transitions[transitions["transition"] == 1]
    ways = {}
    for mean, bounds in (("onset", "onset"), ("proportion_memorised", "proportion")):
        ways |= {mean: "mean", f"{bounds}_low": "min", f"{bounds}_high": "max"}
    ways["support"] = "mean"
    by = rows.astype(dict.fromkeys(ways, float)).groupby("class", sort=False)
    return by.agg(ways).assign(networks=by["model"].nunique())


def mean_onsets(here: Study, arrivals: pd.DataFrame) -> pd.DataFrame:
    """First bend of each class's mean curve over networks, see `learning.mean_onsets`; kept as `rq1_mean_onsets`."""
    return here.keep(learning.mean_onsets(arrivals, by=["class", "target"]), "rq1_mean_onsets")


def fitted(here: Study) -> str:
    """Say how much of the training images the components have learnt in the end, which late maps hang on."""
    history = here.run.read_csv("history", made_by="train_models")
    history = history.reindex(columns=["model", "train_accuracy"])  # networks that were brought have no such column
    last = history[history["model"].isin(here.explained_at_every_epoch)].groupby("model").last()
    if not len(last) or last["train_accuracy"].isna().any():
        return "How well the training images are learnt is not known."
    rate = last["train_accuracy"].mean()
    known = (
        f"In the last epoch components answer {100 * rate:.1f} % of the training images rightly, as they are shown them"
    )
    if rate >= FITTED:
        return f"{known}: they are fitted, so that what arrives late may be memorised."
    return f"{known}: they are not fitted, so that nothing here can be called memorised."


def constant_rate(here: Study, own: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Compare when maps arrive with a network whose learning rate does not fall; kept as `rq1_constant_rate`.

    `own` are the components' `arrivals`. The share of maps that have arrived half-way through training, components less
    that network, image by image, see `transfer.contrasts`; with a sentence. No rows unless such a network (the
    technique constant-rate) is explained at every epoch.
    """
    frames, epochs = [], here.run.checkpoints.epochs(CONSTANT_RATE) if CONSTANT_RATE in here.techniques else []
    if len(epochs) > 1 and here.store.epochs(CONSTANT_RATE) == epochs:
        similarity = similarity_to_final(here, {CONSTANT_RATE: epochs})
        arrived = pd.concat([own.assign(kind="component"), arrivals(here, similarity).assign(kind=CONSTANT_RATE)])
        arrived["share"] = (arrived["first"] <= (arrived["epochs"] - 1) // 2).astype(float)
        frames = [transfer.contrasts(arrived, [("component", CONSTANT_RATE)], column="kind", value="share")]
    found = here.keep(pd.concat(frames) if frames else pd.DataFrame(columns=GAPS), "rq1_constant_rate")
    said = [
        f"{row.target}: {100 * row.difference:+.1f} points ({100 * row.low:+.1f} to {100 * row.high:+.1f})"
        for row in found.itertuples()
    ]
    none = "No network was trained at a constant rate and explained at every epoch (techniques: constant-rate)."
    return found, f"Maps that have arrived half-way, components less constant rate: {', '.join(said)}" if said else none


def second_by_class(here: Study, second: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Is a second transition a property of the class, or of the network? Verdicts, and a sentence; kept as a table."""
    verdicts = here.keep(second_transitions.second_by_class(second), "rq1_second_by_class")
    return verdicts, second_transitions.second_in_words(second)


def settling(here: Study, *, view_share: float) -> tuple[pd.DataFrame, str]:
    """How many maps settle when, by when the use of views does, and a sentence; kept as tables."""
    settled = here.keep(truth.settling(here, view_share=view_share), "rq1_settling", view_share=view_share)
    here.keep(settling_measures.maps_and_views(settled), "rq1_settling_agreement", view_share=view_share)
    counts = settled.dropna().groupby(["use", "map"]).size().rename("images").reset_index()
    return counts, settling_measures.maps_and_views_in_words(settled)


def sweep(here: Study, similarity: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Share of maps that have arrived half-way through training, for every threshold; kept as the table `rq1_sweep`."""
    found = learning.crossing_times_by_threshold(similarity, here.labels, transfer.THRESHOLDS)
    return here.keep(found.assign(target=found["on_target"].map(TARGETS)), "rq1_sweep")


def checks(curves: pd.DataFrame, times: pd.DataFrame) -> list[str]:
    """Say what the notebook claims of its curves, and whether it is so."""
    said, start = [], curves[(curves["epoch"] == 0) & (curves["crossing"] == "first")]
    if len(curves):
        said.append(f"hardly any map of an untrained network has arrived: {bool((start['share'] < 0.2).all())}")
    first = times[(times["model"] == "all") & (times["crossing"] == "first")].set_index("target")["share"]
    if {*TARGETS.values()} <= set(first.index):
        more = bool(first["on target"] > first["off target"])
        said.append(f"half-way through training more on-target than off-target maps have arrived: {more}")
    return said


def _curves(arrivals: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return pd.concat([learning.arrival_curves(arrivals, by=by, crossing=crossing) for crossing in learning.CROSSINGS])


def _keep_crossings(here: Study, curves: pd.DataFrame, table: str) -> None:
    for crossing, end in zip(learning.CROSSINGS, ("", "_lasting"), strict=True):
        here.keep(curves[curves["crossing"] == crossing], table + end)
