import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest

from kd_lib.measures.second_transitions import second_by_class, second_in_words, second_overall, second_shown


def frame(table, *, able=True, support=0.9):
    table = np.asarray(table, dtype=bool)
    models, classes = np.indices(table.shape)
    names = np.array([f"class {k}" for k in range(table.shape[1])], dtype=object)
    columns = {"model": models.ravel(), "class": names[classes.ravel()], "second": table.ravel()}
    return pd.DataFrame(columns).assign(able=able, support=support)


OF_THE_CLASS = np.zeros((10, 10), bool)
OF_THE_CLASS[:, :3] = True
OF_THE_NETWORK = np.eye(10, dtype=bool) | np.roll(np.eye(10, dtype=bool), 3, axis=0)


def test_shown_takes_half_of_the_samples():
    second = frame([[1, 1, 0]]).assign(support=[0.9, 0.4, 0.9])
    assert second_shown(second).to_numpy().tolist() == [[True, False, False]]
    assert second_shown(second.assign(support=np.nan)).to_numpy().tolist() == [[True, True, False]]
    assert second_shown(second.assign(able=[True, True, False])).empty


def test_a_property_of_the_class():
    found = second_by_class(frame(OF_THE_CLASS)).set_index("class")
    assert found["verdict"].tolist() == ["class"] * 3 + ["none"] * 7
    assert found["shown"].tolist() == [10] * 3 + [0] * 7
    assert found["share"].tolist() == [1] * 3 + [0] * 7
    assert found.loc["class 0", "p"] == pytest.approx(0.3**10)
    peer = binomtest(10, 10).proportion_ci(method="exact")
    assert tuple(found.loc["class 0", ["low", "high"]]) == pytest.approx((peer.low, peer.high))
    whole = second_overall(frame(OF_THE_CLASS))
    assert whole["verdict"] == "class"
    assert whole["kappa"] == pytest.approx(1)
    words = second_in_words(frame(OF_THE_CLASS))
    assert words.startswith("Second transitions: a property of the class")
    assert "class 2: 10 of 10 networks" in words
    assert "class 3" not in words


def test_a_property_of_the_network():
    whole = second_overall(frame(OF_THE_NETWORK))
    assert whole["verdict"] == "net"
    assert whole["p"] > 0.5
    found = second_by_class(frame(OF_THE_NETWORK))
    assert (found["shown"] == 2).all()
    assert found["p"].tolist() == pytest.approx([binom.sf(1, 10, 0.2)] * 10)
    once = second_by_class(frame(np.eye(10, dtype=bool)))
    assert set(once["verdict"]) == {"net"}
    assert "a property of the network" in second_in_words(frame(OF_THE_NETWORK))


def test_four_networks_cannot_tell():
    table = np.zeros((4, 10), bool)
    table[:, 0] = table[0, 5] = True
    found = second_by_class(frame(table)).set_index("class")
    assert found.loc["class 0", "verdict"] == "cannot tell"  # four of four may still be less than half of all


@pytest.mark.parametrize(
    ("second", "start"),
    [
        (frame(OF_THE_CLASS, able=False), "Second transitions: cannot tell, these curves have too few epochs"),
        (frame(OF_THE_CLASS[:0]), "Second transitions: cannot tell, no network has maps"),
        (frame(OF_THE_CLASS[:1]), "Second transitions: cannot tell whether"),
        (frame(OF_THE_CLASS[:, :1]), "Second transitions: cannot tell whether"),
        (frame(np.ones((10, 3))), "Second transitions: cannot tell whether"),
        (frame(np.zeros((10, 3))), "Second transitions: none"),
    ],
    ids=["too few epochs", "no network", "one network", "one class", "everywhere", "nowhere"],
)
def test_what_it_says_where_there_is_little_to_say(second, start):
    assert second_in_words(second).startswith(start)
    assert "class" not in set(second_by_class(second)["verdict"])
    assert second_overall(second)["verdict"] in {"none", "cannot tell"}


def test_chance_is_called_a_class_in_one_of_twenty_at_most():
    rng, called = np.random.default_rng(0), []
    for _ in range(40):
        called.append(second_overall(frame(rng.random((8, 10)) < 0.3))["verdict"] == "class")
    assert np.mean(called) <= 0.125  # 5 of 40: more has a probability of 1 %
