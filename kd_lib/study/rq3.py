"""What `rq3` says: whether the distilled network's maps, outputs and features come closer to the ensemble's."""

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import pandas as pd

from kd_lib._workers import in_threads
from kd_lib.measures import beyond, gaps, outputs, rivals, statistics, transfer
from kd_lib.measures import importances as views
from kd_lib.measures.beyond import CLOSENESS, MAPS_OFF, MAPS_ON
from kd_lib.measures.similarity import pearson
from kd_lib.measures.transfer import BESIDE_OTHERS, DISTILLED, LEFT_OUT
from kd_lib.networks.architectures import HALF_TAUGHT, SELF_DISTILLATION, penultimate_features
from kd_lib.study import truth
from kd_lib.study.reading import ENSEMBLE, TARGETS, Study

COLUMNS = ("kind", "model", "image", *CLOSENESS)
STATES = ("kind", "model", "epoch", "image", "similarity", "accuracy")
by_kl = beyond.similarity_by_kl


# ---- views, by intervention ------------------------------------------------------------------------------------------


def importances(here: Study, *, view_share: float) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Whether networks rely on the views that the ensemble relies on, see `measures.importances`; with sentences.

    Students and techniques are held against the same ensembles as components: of all components but one. No rows where
    no view can be taken out of the images, without an ensemble, and where it averages probabilities. Kept as the tables
    `rq3_importances` and `rq3_importance_gaps` (students less left-out components).
    """
    lacking = "" if here.has_ensemble else "No ensemble, which takes two components."
    if here.parameters["ensemble_output"] != "logits":
        lacking = "The ensemble averages probabilities: how much a view counts for it, in logits, is not known."
    if not here.drawn:
        lacking = "Nobody knows which views these networks use: that takes images that can be drawn without one."
    if lacking:
        return pd.DataFrame(columns=list(views.TABLE)), pd.DataFrame(), [lacking]
    known, drawn, own = truth.Importances(here), here.dataset.probe.views, (np.arange(len(here.labels)), here.labels)
    students = {transfer.DISTILLED if name == here.distilled else name: name for name in here.students}
    names = students | {name: name for name in here.techniques}
    kinds = dict.fromkeys(students, transfer.DISTILLED) | {name: here.kinds[name] for name in here.techniques}
    every = {name: known.of(name) for name in [*here.components, *names.values()]}
    members = {name: every[name] for name in here.components}
    shown, rests = drawn.present.numpy(), transfer.leave_one_out(list(members.values()))
    others = [(what, kinds[what], every[name]) for what, name in names.items()]
    options = {"view_share": view_share}
    by_image = views.to_the_rest(members, others, shown.reshape(len(shown), -1), here.labels, **options)

    def of_own(importance: np.ndarray) -> np.ndarray:
        """Take the importances (N, V) of the views of each image's own class, for it."""
        return importance[own].reshape(shown.shape)[own]

    beside = [of_own(rest) for rest in rests]
    pairs = {LEFT_OUT: list(zip(map(of_own, members.values()), beside, strict=True))}
    pairs |= {what: [(of_own(every[name]), rest) for rest in beside] for what, name in students.items()}
    by_view = {what: views.view_by_view(own_pairs, shown[own], here.labels) for what, own_pairs in pairs.items()}
    table = here.keep(views.table(by_image, by_view), "rq3_importances", **options)
    gaps = here.keep(views.gaps(by_image, by_view, list(students)), "rq3_importance_gaps", **options)
    return table, gaps, views.in_words(table, gaps)


# ---- maps ------------------------------------------------------------------------------------------------------------


def similarity_matrix(here: Study, image: int) -> pd.DataFrame:
    """Pearson similarity of the maps of one probe image for its own class, every network and the ensemble.

    Long-form: columns network, other network, similarity.
    """
    names, label = here.with_ensemble, here.labels[image]
    own = np.stack([here.maps(name)[image, label] for name in names])
    matrix = pd.DataFrame(pearson(own[:, None], own[None]), index=names, columns=names).rename_axis("network")
    return matrix.melt(ignore_index=False, var_name="other network", value_name="similarity").reset_index()


def to_ensemble(here: Study) -> pd.DataFrame:
    """Similarity of every network's maps to the ensemble's.

    Columns kind, model, image, target, label, on_target, pearson, cosine, class. kind is 'component' (beside the
    ensemble that it is part of), 'leave-one-out' (the same component beside the ensemble of the others), 'distilled',
    'other' or a technique; self-distillation is beside the ensemble without the component that taught it. No rows
    without an ensemble.
    """
    if not here.has_ensemble:
        return _nothing([*transfer.TO_ENSEMBLE, "class"])
    members, ensemble = here.components, here.maps(ENSEMBLE)
    rests = dict(zip(members, in_threads(lambda name: here.maps(ENSEMBLE, without=name), members), strict=True))
    names = [(DISTILLED, here.distilled)] if here.distilled else []
    names += [("other", name) for name in here.others] + [(here.kinds[name], name) for name in here.techniques]
    outside, first = here.maps_of([name for _, name in names]), {SELF_DISTILLATION: members[0]}
    outsiders = [
        (kind, DISTILLED if kind == DISTILLED else name, outside[name], first.get(kind)) for kind, name in names
    ]
    return here.named(transfer.to_ensemble(here.maps_of(members), ensemble, rests, here.labels, outsiders=outsiders))


def beside_the_same(here: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """Add to the rows of `to_ensemble` the distilled network beside each ensemble that leaves a component out.

    An ensemble of fewer networks has noisier maps. So a left-out component, which is held against such a one, has to be
    compared with the distilled network beside the same one: their kind is `transfer.BESIDE_OTHERS`.
    """
    if not here.has_ensemble or here.distilled is None:
        return frame
    like = frame[frame["kind"] == DISTILLED].drop(columns=["cosine"])  # image by image, class by class
    close = in_threads(lambda left_out: here.similarity_to_rest(here.distilled, left_out), here.components)
    return pd.concat(
        [frame, *(like.assign(kind=BESIDE_OTHERS, pearson=own.ravel()) for own in close)], ignore_index=True
    )


def to_half_ensembles(here: Study) -> pd.DataFrame:
    """Similarity of maps to those of the ensembles of half of the components.

    Columns as of `to_ensemble`, with ensemble before: 'its teachers' or 'strangers'. kind is 'half-taught', taught by
    one half each, or 'component': each beside the ensemble of the half that it is not in, which is one of 'strangers'
    to it. pair names both. No rows without a half-taught network.
    """
    if HALF_TAUGHT[0] not in here.controls:
        return _nothing(["pair", *transfer.TO_HALVES, "class"])
    sides = [(here.maps(ENSEMBLE, of=half), here.maps_of(half)) for half in here.halves]
    taught = here.maps_of([name for name in HALF_TAUGHT if name in here.controls])
    found = here.named(transfer.to_halves(taught, sides, here.labels))
    return found.assign(pair=found["kind"] + " – " + found["ensemble"])


def quantiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Quantiles of the similarity to the ensemble's maps, by kind, class and target, as box plots show them."""
    return statistics.quantiles(frame, "pearson", by=["kind", "class", "target"])


def sweep(here: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """Share of maps above every threshold, by kind and target; kept as the table `rq3_sweep`."""
    return here.keep(transfer.shares_by_threshold(frame, by=["kind", "target"]), "rq3_sweep")


def gain(here: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """How much closer the distilled network is to the ensemble than components, see `transfer.gain`; `rq3_gain`.

    `frame` is of `beside_the_same`.
    """
    return here.keep(transfer.gain(frame), "rq3_gain")


def gain_by_scale(here: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """Tell the gain over left-out components on three scales, see `transfer.gain_by_scale`; `rq3_gain_by_scale`."""
    return here.keep(transfer.gain_by_scale(frame), "rq3_gain_by_scale")


def gain_by_class(here: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """How much closer it is than left-out components, class by class; kept as the table `rq3_gain_by_class`."""
    return here.keep(transfer.gain(frame, by=["class", "target"], opponents=[LEFT_OUT]), "rq3_gain_by_class")


def medians_apart(here: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """How far medians lie apart, in interquartile ranges, see `transfer.medians_apart`; kept as `rq3_medians`."""
    return here.keep(transfer.medians_apart(frame), "rq3_medians")


def share_gaps(here: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """Differences of shares above T_c, see `gaps.in_shares`; kept as the table `rq3_share_gaps`."""
    return here.keep(gaps.in_shares(frame, here.t_c), "rq3_share_gaps")


def techniques(here: Study, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Which technique comes closest to distillation, see `measures.rivals`, and in words; kept as `rq3_techniques`."""
    kinds = list(dict.fromkeys(here.kinds[name] for name in here.techniques))
    found = here.keep(rivals.technique_contrasts(frame, kinds), "rq3_techniques")
    return found, rivals.closest_technique(found, rivals.seed_spread(frame))


def bias(here: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """Tell what being part of the ensemble gives a component, by target; kept as the table `rq3_bias`.

    Columns bias (mean similarity, less that with itself left out), low, high, images, own part (see `transfer`), 1 / M.
    """
    found = transfer.contrasts(frame, [("component", LEFT_OUT)], column="kind").set_index("target")
    found = found[["difference", "low", "high", "images"]].rename(columns={"difference": "bias"})
    members = list(here.maps_of(here.components).values())
    if len(members) > 1:
        own = transfer.own_part(members, here.labels)
    else:
        own = pd.DataFrame(columns=["on_target", "own part"])
    found["own part"] = own.assign(target=own["on_target"].map(TARGETS)).set_index("target")["own part"]
    found["1 / M"] = 1 / max(len(members), 1)
    here.keep(found.reset_index(), "rq3_bias")
    return found


def inherited(here: Study, halves: pd.DataFrame) -> pd.DataFrame:
    """Tell what half-taught networks have of their teachers from what any ensemble teaches; kept as `rq3_inherited`."""
    taught, strange = (f"{HALF_TAUGHT[0]} – {ensemble}" for ensemble in (transfer.TEACHERS, transfer.STRANGERS))
    pairs = [(taught, strange), (strange, f"component – {transfer.STRANGERS}")]
    return here.keep(transfer.contrasts(halves, pairs, column="pair"), "rq3_inherited")


def _nothing(columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns=columns).astype({"pearson": float, "cosine": float})


# ---- outputs and features --------------------------------------------------------------------------------------------


def features(here: Study, *, device: str = "auto") -> tuple[dict[str, np.ndarray], str]:
    """Penultimate features (N, D) of the probe images, of every network that is compared with the ensemble.

    Networks that have none are left out; there are none at all without an ensemble, and where the images cannot be read
    any more. The sentence says what they are, or which are missing and why.
    """
    if not here.has_ensemble:
        return {}, "No ensemble to compare features with."
    try:
        dataset = here.dataset
    except (OSError, RuntimeError, ValueError) as error:
        return {}, f"No features, and no CKA: the images cannot be read ({error})."
    names = [*here.networks, *here.techniques]
    networks = in_threads(lambda name: here.network(name, device=device), names)  # drawing weights takes long
    every = {n: penultimate_features(net, dataset, dataset.probe) for n, net in zip(names, networks, strict=True)}
    found = {name: own.numpy() for name, own in every.items() if own is not None}
    without = [name for name in every if name not in found]
    if without:
        return found, f"No features, and no CKA, of {', '.join(without)}: no linear layer at the end."
    return found, "Features: what the last linear layer is given."


def closeness(here: Study, similarity: pd.DataFrame, own_features: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """How close every final network is to the ensemble on each probe image; means are kept as the table `rq3_outputs`.

    `similarity` of maps is as of `to_ensemble`, and `own_features` by name as of `features`; without those of all
    components of an ensemble there is no CKA to it.

    A row a kind, model and image: kind (as in `similarity`; 'leave-one-out' is compared with the ensemble of the others
    in everything), model, image, agreement, KL (nats), CKA (shares of the image, `outputs.cka_by_image`), accuracy (0
    or 1), similarity on target, similarity off target (mean over classes). No rows without an ensemble.
    """
    pairs = similarity[["kind", "model"]].drop_duplicates().itertuples(index=False)
    clean = _clean(here, [*here.networks, *here.techniques])
    grams = {name: outputs.gram(own) for name, own in own_features.items() if len(here.labels) >= 5}
    frames = []
    for kind, name in pairs:
        teachers = [member for member in here.components if kind != LEFT_OUT or member != name]
        own = here.distilled if kind == "distilled" else name  # whose model is called so, whatever its name
        frame = outputs.by_image(_together(here, clean, teachers), clean[own], here.labels)
        known = grams.keys() >= {own, *teachers}
        aligned = outputs.cka_by_image(grams[own], sum(grams[n] for n in teachers)) if known else np.nan
        frames.append(frame.assign(kind=kind, model=name, **{outputs.CKA: aligned}))
    close, keys = pd.DataFrame(columns=list(COLUMNS)), ["kind", "model", "image"]
    if frames:
        maps = similarity.pivot_table(index=keys, columns="target", values="pearson", observed=True)
        maps = maps.reindex(columns=["on target", "off target"]).set_axis([MAPS_ON, MAPS_OFF], axis=1).reset_index()
        close = pd.concat(frames).merge(maps, on=keys, how="left")[list(COLUMNS)]
    here.keep(beyond.closeness_summary(close), "rq3_outputs")
    return close


def closeness_table(close: pd.DataFrame) -> pd.DataFrame:
    """Means over images of what `closeness` returned, by kind, with their intervals as text."""
    return statistics.interval_table(close, list(CLOSENESS), by="kind", clusters="image")


def to_the_rest(here: Study) -> pd.DataFrame:
    """How close each component is to the ensemble of the others, and the distilled network to the same ensemble.

    A row a component left out, network and image: kind ('leave-one-out' or 'distilled'), model, without (the component
    left out), image, agreement, KL (nats; at the temperature at which students are taught), error of logits, accuracy,
    similarity on target, similarity off target. No rows without an ensemble and a distilled network.
    """
    student, true = here.distilled, here.labels
    if not here.has_ensemble or student is None:
        return pd.DataFrame(columns=[c for c in (*COLUMNS, outputs.ERROR, "without") if c != outputs.CKA])
    clean, taught_at = _clean(here, [*here.components, student]), float(here.parameters.get("temperature", 1))

    def beside_rest(left_out: str) -> list[pd.DataFrame]:
        reference = _together(here, clean, [name for name in here.components if name != left_out])
        frames = []
        for kind, name in ((LEFT_OUT, left_out), (DISTILLED, student)):
            close = here.similarity_to_rest(name, left_out)
            own = np.arange(close.shape[1]) == true[:, None]
            parts = {MAPS_ON: np.where(own, close, np.nan), MAPS_OFF: np.where(own, np.nan, close)}
            means = {c: np.ma.masked_invalid(part).mean(1).filled(np.nan) for c, part in parts.items()}
            ids = {"kind": kind, "model": name, "without": left_out}
            near = outputs.by_image(reference, clean[name], true, temperature=taught_at)
            error = outputs.error_of_logits(reference, clean[name])
            frames.append(near.assign(**{outputs.ERROR: error}, **means, **ids))
        return frames

    return pd.concat(chain.from_iterable(in_threads(beside_rest, here.components)), ignore_index=True)


def rank_correlations(here: Study, close: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Do maps and outputs tell the same story, see `beyond.rank_correlations`; kept as `rq3_rank_correlations`."""
    found = here.keep(beyond.rank_correlations(close), "rq3_rank_correlations")
    return found, beyond.same_story(found)


def at_equal_outputs(here: Study, rest: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Gains over a left-out component where outputs are alike, see `beyond.beyond`; kept as `rq3_beyond_outputs`."""
    found = {what: beyond.beyond(rest, similarity=what) for what in (MAPS_ON, MAPS_OFF)}
    gains = pd.concat([frame.assign(similarity=what) for what, frame in found.items()])
    said = [beyond.beyond_in_words(frame, what) for what, frame in found.items()]
    return here.keep(gains, "rq3_beyond_outputs"), said


def _clean(here: Study, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Logits (N, K) of the probe images as they are, of final networks by name."""
    return dict(zip(names, in_threads(here.clean, names), strict=True))


def _together(here: Study, clean: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    return outputs.together([clean[name] for name in names], output=here.parameters["ensemble_output"])


# ---- the consensus ---------------------------------------------------------------------------------------------------


def to_consensus(here: Study) -> pd.DataFrame:
    """How close the maps of every state in the store are to the consensus, and how accurate the network is then.

    The consensus is the final ensemble; for a component, at every epoch, the final ensemble of the others.

    A row a state and probe image: kind (role of the network), model, epoch, image, similarity (Pearson, of the maps for
    the image's own class), accuracy (of the network at that epoch, on the test images, in [0, 1]). The controls count
    as well. No rows without an ensemble.
    """
    if not here.has_ensemble:
        return pd.DataFrame(columns=list(STATES))
    history = here.run.read_csv("history", made_by="train_models")
    accuracy = history.set_index(["model", "epoch"])["test_accuracy"]
    at = np.arange(len(here.labels)), here.labels
    consensus = {name: here.maps(ENSEMBLE, without=name)[at] for name in here.components}
    everybody = here.maps(ENSEMBLE)[at]

    def own_class(name: str, epoch: int) -> np.ndarray:
        chosen = here.outputs(name, epoch)[at[0], :, at[1]]
        return here.saliency_maps(chosen[..., None])[:, 0]

    role = here.roles | dict.fromkeys(here.students, "distilled")
    states = [(name, epoch) for name in role for epoch in here.store.epochs(name)]
    close = in_threads(lambda state: pearson(own_class(*state), consensus.get(state[0], everybody)), states)
    frames = []
    for (name, epoch), similarity in zip(states, close, strict=True):
        columns = {"kind": HALF_TAUGHT[0] if name in HALF_TAUGHT else role[name], "model": name, "epoch": epoch}
        columns |= {"image": at[0], "similarity": similarity}
        frames.append(pd.DataFrame(columns).assign(accuracy=accuracy.get((name, epoch), np.nan)))
    return pd.concat(frames, ignore_index=True)


def tracking(here: Study, states: pd.DataFrame) -> str:
    """Say whether accuracy tracks closeness to the consensus, see `beyond.track`; kept as `rq3_consensus`."""
    return beyond.tracking(here.keep(beyond.track(states), "rq3_consensus"))


def consensus_points(states: pd.DataFrame) -> pd.DataFrame:
    """Mean similarity to the consensus and accuracy (in %) of every state; last says whether it is a final network."""
    points = states.groupby(["kind", "model", "epoch"], sort=False)[["similarity", "accuracy"]].mean().reset_index()
    points["accuracy (%)"] = 100 * points["accuracy"]
    return points.assign(last=points["epoch"] == points.groupby("model")["epoch"].transform("max"))


def checks(shares: pd.DataFrame) -> list[str]:
    """Say what the notebook claims of mean similarities, and whether it is so."""
    closer = shares.pivot(index="target", columns="kind", values="mean similarity")
    known = closer.reindex(columns=["distilled", LEFT_OUT]).dropna()
    return [
        f"{target}: the distilled network is closer to the ensemble than leave-one-out components: "
        f"{bool(row['distilled'] > row[LEFT_OUT])}"
        for target, row in known.iterrows()
    ]
