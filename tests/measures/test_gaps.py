"""Differences between kinds of network, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from kd_lib.measures import gaps, transfer


def right(answers):
    """Answers of networks, one letter an image: r is right."""
    kinds = {"a": "component", "b": "component"}
    frames = [
        pd.DataFrame({"image": range(len(text)), "right": [letter == "r" for letter in text]}).assign(
            kind=kinds.get(name, name), model=name
        )
        for name, text in answers.items()
    ]
    return pd.concat(frames, ignore_index=True)


ANSWERS = {"a": "rrw.", "b": "rww.", "ensemble": "rrr.", "distilled": "rrw."}


def test_accuracies_are_means_over_networks():
    found = gaps.accuracy_by_kind(right(ANSWERS)).set_index("kind")
    assert found["accuracy"].to_dict() == {"component": 3 / 8, "ensemble": 3 / 4, "distilled": 1 / 2}
    assert found["networks"].to_dict() == {"component": 2, "ensemble": 1, "distilled": 1}
    assert (found["low"] <= found["accuracy"]).all()
    assert (found["accuracy"] <= found["high"]).all()


def test_accuracies_differ_image_by_image():
    found = gaps.in_accuracy(right(ANSWERS)).set_index(["what", "less"])["difference"]
    assert found.to_dict() == {
        ("ensemble", "component"): pytest.approx(3 / 8),
        ("distilled", "component"): pytest.approx(1 / 8),
        ("distilled", "ensemble"): pytest.approx(-1 / 4),
    }


def test_networks_that_are_not_there_have_no_row():
    found = gaps.in_accuracy(right({"a": "rw", "ensemble": "rr"}))
    assert found[["what", "less"]].values.tolist() == [["ensemble", "component"]]
    assert gaps.in_accuracy(right({"other": "rw"})).empty


def frame():
    """Four images; above T_c = 0.5 are the shares written out in the test below."""
    above = {
        ("component", "on target"): "1100",
        ("component", "off target"): "1000",
        ("leave-one-out", "on target"): "1000",
        ("leave-one-out", "off target"): "0000",
        ("distilled", "on target"): "1110",
        ("distilled", "off target"): "1110",
        ("distilled, beside the same", "on target"): "0110",
        ("distilled, beside the same", "off target"): "1111",
    }
    rows = [(k, t, image, float(bit)) for (k, t), bits in above.items() for image, bit in enumerate(bits)]
    return pd.DataFrame(rows, columns=["kind", "target", "image", "pearson"])


def test_shares_differ_by_opponent_by_target_and_between_targets():
    found = gaps.in_shares(frame(), 0.5).set_index(["what", "less", "target"])
    assert found["difference"].to_dict() == pytest.approx(
        {
            ("distilled", "component", "on target"): 0.25,
            ("distilled", "component", "off target"): 0.5,
            ("distilled", "leave-one-out", "on target"): 0.25,
            ("distilled", "leave-one-out", "off target"): 1.0,
            ("distilled", "component", "off less on"): 0.25,
            ("distilled", "leave-one-out", "off less on"): 0.75,
            ("on target", "off target", "component"): 0.25,
            ("on target", "off target", "leave-one-out"): 0.25,
            ("on target", "off target", "distilled"): 0.0,
        }
    )
    assert list(found.reset_index().columns) == list(gaps.in_shares(frame().iloc[:0], 0.5).columns)


def test_a_share_is_that_of_the_published_table():
    random = np.random.default_rng(0)
    many = pd.concat([frame()] * 5, ignore_index=True)
    many = many.assign(pearson=random.uniform(-1, 1, len(many)), image=np.arange(len(many)) // len(frame()))
    shares = transfer.shares_above(many, 0.2, by=["kind", "target"]).set_index(["kind", "target"])["share"]
    found = gaps.in_shares(many, 0.2).set_index(["what", "less", "target"])["difference"]
    for target in ("on target", "off target"):
        expected = shares["distilled", target] - shares["component", target]
        assert found["distilled", "component", target] == pytest.approx(expected)


def test_without_an_ensemble_or_a_student_there_is_less_to_compare():
    assert gaps.in_shares(frame().iloc[:0].astype({"pearson": float}), 0.5).empty
    alone = frame()[~frame()["kind"].str.startswith("distilled")]
    assert set(gaps.in_shares(alone, 0.5)["what"]) == {"on target"}


def test_views_used_known_and_pointed_at():
    use = pd.DataFrame(
        {
            "network": ["a", "b", "distilled", "ensemble"] * 2,
            "image": [0] * 4 + [1] * 4,
            "used": [1, 1, 2, 3, 1, 2, 2, 3],
            "hit": [True, False, True, True, True, True, np.nan, True],
            "any view": [0.25] * 8,
            "untrained": [0.5, None] * 4,
        }
    )
    single = use.assign(**{"single-view accuracy": use["used"] > 1})
    found = gaps.of_views(use, single, ["a", "b"], "distilled").set_index(["what", "less", "target"])["difference"]
    assert found["ensemble", "component", "used"] == pytest.approx(1.75)
    assert found["distilled", "component", "used"] == pytest.approx(0.75)
    assert found["distilled", "ensemble", "used"] == -1
    assert found["distilled", "component", "single-view accuracy"] == pytest.approx(0.75)
    assert found["hit", "any view", "networks"] == pytest.approx((2 / 3 + 1) / 2 - 0.25)
    known = use.dropna(subset=["untrained"]).query("network != 'ensemble'").groupby("image")["hit"].mean()
    assert found["hit", "untrained", "networks"] == pytest.approx(known.mean() - 0.5)
    without = gaps.of_views(use, single, ["a", "b"], None)
    assert set(without["what"]) == {"ensemble", "hit"}
