import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from kd_lib.measures import beyond
from kd_lib.measures.beyond import MAPS_OFF as OFF
from kd_lib.measures.beyond import MAPS_ON as ON
from kd_lib.measures.beyond import MATCHED, PAIRED, POOLED, SAME_EPOCH
from kd_lib.measures.outputs import ACCURACY, AGREEMENT, CKA, ERROR, KL


def closeness(*, features, images=150, seed=0, pairs=True, error=0.0):
    """Draw a distilled network with smaller KL than components; its maps are closer by `features` at the same KL.

    `error` is by how much they are also closer where the error of logits is smaller, as that of the distilled one is.
    """
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=images)
    frames = []
    students = [("distilled", "distilled", 0.7, n) for n in ("abc" if pairs else "a")]
    for kind, model, less, without in [("leave-one-out", n, 0, n) for n in "abc"] + students:
        log_kl = -2 + hard - less + rng.normal(size=images)
        log_error = rng.normal(size=images) - less
        similarity = 0.7 - 0.08 * log_kl + features * (kind == "distilled") + rng.normal(scale=0.05, size=images)
        similarity -= error * log_error
        columns = {
            "kind": kind,
            "model": model,
            "without": without,
            "image": np.arange(images),
            KL: np.exp(log_kl),
            ERROR: np.exp(log_error),
            CKA: 0.5,
        }
        columns |= {AGREEMENT: (log_kl < 0).astype(float), ACCURACY: 1.0, ON: similarity, OFF: similarity - 0.1}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def test_a_gain_beyond_outputs_is_told_from_one_that_is_theirs():
    for features, said in ((0.1, "yes"), (0.0, "no")):
        found = beyond.beyond(closeness(features=features, images=1000), similarity=ON).set_index("adjustment")
        assert found.loc["none", "gain"] == pytest.approx(features + 0.08 * 0.7, abs=0.02)
        assert found.loc[[MATCHED, POOLED, PAIRED], "gain"].to_numpy() == pytest.approx(features, abs=0.02)
        assert beyond.beyond_verdict(found.reset_index()) == said
        assert f"Closer beyond outputs: {said}." in beyond.beyond_in_words(found.reset_index(), ON)
    assert found.loc["none", "part left"] == 1
    assert found.loc["none", "KL ratio"] == pytest.approx(np.exp(-0.7), rel=0.15)
    assert found.loc[MATCHED, "KL ratio"] == pytest.approx(1, abs=0.05)


def test_what_a_smaller_error_of_logits_gives_is_not_beyond_outputs():
    found = beyond.beyond(closeness(features=0.0, images=1000, error=0.1), similarity=ON).set_index("adjustment")
    assert found.loc["none", "gain"] == pytest.approx(0.18 * 0.7, abs=0.02)
    assert found.loc[[POOLED, PAIRED], "gain"].to_numpy() == pytest.approx(0, abs=0.02)


def test_intervals_at_equal_outputs_cover():
    hits = dict.fromkeys((MATCHED, POOLED, PAIRED), 0)
    for seed in range(60):
        found = beyond.beyond(closeness(features=0.05, images=60, seed=seed), similarity=ON).set_index("adjustment")
        for name in hits:
            hits[name] += found.loc[name, "low"] <= 0.05 <= found.loc[name, "high"]
    assert all(hit >= 51 for hit in hits.values()), hits  # 57 of 60 are expected


def test_pairs_by_hand():
    frame = pd.DataFrame(
        [
            *(("distilled", n, 0, 1, 1.0, 0.9) for n in "abc"),
            *(("distilled", n, 1, 0, 1.0, 0.5) for n in "abc"),
            ("leave-one-out", "a", 0, 1, 1.2, 0.6),
            ("leave-one-out", "b", 0, 1, 2.0, 0.5),
            ("leave-one-out", "a", 1, 1, 1.2, 0.4),
            ("leave-one-out", "b", 1, 0, 0.9, 0.2),
            ("leave-one-out", "c", 1, 0, np.nan, 0.2),
        ],
        columns=["kind", "without", "image", AGREEMENT, KL, ON],
    ).assign(**{ERROR: 1.0})
    found = beyond.beyond(frame, similarity=ON).set_index("adjustment")
    assert found["gain"].to_list()[:3] == pytest.approx([(0.3 + 0.4 + 0.1 + 0.3) / 4, 0.35, 0.3])
    assert found["pairs"].to_list()[:3] == [4, 2, 2]
    assert found["images"].to_list()[:3] == [2, 1, 2]
    assert found["KL ratio"].to_list()[2] == pytest.approx(np.sqrt(1 / 1.2 / 0.9))
    assert found.loc[[POOLED, PAIRED], "gain"].isna().all()  # two images are too few for a regression


def test_what_cannot_be_compared_is_said():
    frame = closeness(features=0.1)
    without = frame[frame["kind"] != "distilled"]
    assert "takes a distilled network" in beyond.beyond_in_words(beyond.beyond(without, similarity=ON), ON)
    lost = frame.assign(**{KL: frame[KL].where(frame["kind"] != "distilled")})
    assert beyond.beyond(lost, similarity=ON).empty
    few = beyond.beyond(frame[frame["image"] < 1], similarity=ON)
    assert "cannot tell" in beyond.beyond_in_words(few, ON)
    worse = frame.assign(**{ON: frame[ON] - 0.5 * (frame["kind"] == "distilled")})
    assert "no gain to explain" in beyond.beyond_in_words(beyond.beyond(worse, similarity=ON), ON)
    agreed = beyond.beyond(frame.assign(**{AGREEMENT: 1.0}), similarity=ON)
    assert agreed["gain"].notna().all()


def test_rank_correlations_are_scipys():
    frame = closeness(features=0.1, pairs=False)
    found = beyond.rank_correlations(frame).set_index(["kind", "similarity", "output"])
    own = frame[frame["kind"] == "distilled"]
    assert found.loc[("distilled", ON, KL), "spearman"] == pytest.approx(spearmanr(own[ON], own[KL])[0])
    assert found.loc[("distilled", ON, AGREEMENT), "spearman"] == pytest.approx(spearmanr(own[ON], own[AGREEMENT])[0])
    each = [spearmanr(group[ON], group[KL])[0] for name, group in frame.groupby("model") if name != "distilled"]
    row = found.loc[("leave-one-out", ON, KL)]
    assert row["spearman"] == pytest.approx(np.mean(each))
    assert row["low"] < row["spearman"] < row["high"] < 0
    assert row["networks"] == 3
    said = beyond.same_story(found.reset_index())
    assert "distilled, similarity on target: yes" in said


def test_rank_correlations_of_what_does_not_vary():
    frame = closeness(features=0.1, pairs=False).assign(**{AGREEMENT: 1.0})
    assert set(beyond.rank_correlations(frame)["output"]) == {KL}
    none = beyond.rank_correlations(frame.assign(**{KL: np.nan}))
    assert none.empty
    assert "Cannot tell" in beyond.same_story(none)


def test_summary_has_networks_and_their_mean():
    frame = closeness(features=0.1, pairs=False)
    frame.loc[frame["model"] == "a", CKA] = np.nan
    found = beyond.closeness_summary(frame).set_index(["kind", "network", "measure"])
    assert found.loc[("leave-one-out", "b", AGREEMENT), "estimate"] == frame[frame["model"] == "b"][AGREEMENT].mean()
    assert np.isnan(found.loc[("leave-one-out", "a", CKA), "estimate"])
    assert found.loc[("leave-one-out", "all", CKA)].to_list() == [0.5, 0.5, 0.5, 150]


def test_bins_of_kl_hold_every_row():
    found = beyond.similarity_by_kl(closeness(features=0.1), bins=4)
    assert set(found["target"]) == {"on target", "off target"}
    on = found[(found["target"] == "on target") & (found["kind"] == "leave-one-out")].sort_values(KL)
    assert on["similarity"].is_monotonic_decreasing
    assert beyond.similarity_by_kl(closeness(features=0.1)[:0]).empty


def states(effect, *, networks=5, seed=0):
    """Components that all get better with training, and by `effect` the more so the closer their maps are."""
    rng = np.random.default_rng(seed)
    rows = []
    for name in range(networks):
        for epoch in range(5):
            own = rng.normal(scale=0.01) + 0.03 * name
            similarity = 0.1 * epoch + own + rng.normal(scale=0.02, size=40)
            values = {"similarity": similarity, "accuracy": 0.1 * epoch + effect * own + rng.normal(scale=1e-3)}
            columns = {"kind": "component", "model": f"n{name}", "epoch": epoch, "image": range(40)} | values
            rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)


def test_training_alone_is_no_proof_that_consensus_tracks_accuracy():
    for effect, at_once in ((1.0, "yes"), (0.0, "cannot tell"), (-1.0, "no, the other way round")):
        found = beyond.track(states(effect)).set_index("among")
        assert found.loc[beyond.ALL_STATES, "low"] > 0.8
        assert found.loc[beyond.ALL_STATES, "states"] == 25
        assert found.loc[SAME_EPOCH, "states"] == 20  # without untrained networks
        assert f"{SAME_EPOCH}: {at_once} " in beyond.tracking(found.reset_index())
    assert found.loc[SAME_EPOCH, "p"] == 1


def test_the_permutations_are_of_whole_networks():
    found = beyond.track(states(1.0, networks=3)).set_index("among")
    assert found.loc[SAME_EPOCH, "p"] == pytest.approx(1 / 6)


def test_track_without_enough_to_compare():
    whole = states(1.0)
    for frame in (whole[:0], whole[whole["model"] == "n0"], whole.assign(similarity=np.nan)):
        found = beyond.track(frame)
        assert "cannot tell" in beyond.tracking(found)
    last_only = whole[(whole["epoch"] == 4) | (whole["model"] == "n0")]
    assert beyond.track(last_only).set_index("among").loc[SAME_EPOCH, "states"] == 5
