"""Agreement between annotators, by hand. Answers in here are made by a rule; no person gave one."""

import numpy as np
import pandas as pd
import pytest

from kd_lib.people.agreement import alpha, kappas, majority, with_oneself


def answers(**people):
    """One letter a unit for each annotator; a dot where there is no answer."""
    rows = [(name, f"u{n}", letter) for name, said in people.items() for n, letter in enumerate(said) if letter != "."]
    return pd.DataFrame(rows, columns=["annotator", "unit", "answer"])


def test_majority_leaves_ties_open():
    merged = majority(answers(rule_a="sdss.", rule_b="sdd.d", rule_c="ssd.."))
    assert merged["answer"].tolist() == ["s", "d", "d", "s", "d"]
    assert merged["annotators"].tolist() == [3, 3, 3, 1, 1]
    assert majority(answers(rule_a="sd", rule_b="dd"))["answer"].tolist() == [None, "d"]
    assert majority(answers()).empty


def test_kappa_by_hand():
    # 10 common units, 7 equal; both say s half of the time: chance is 1/2, kappa (0.7 - 0.5) / 0.5.
    table = kappas(answers(rule_a="sssssddddd.", rule_b="ssssdsdddds"[:4] + "dssddds"))
    row = table.iloc[0]
    assert (row["annotator_a"], row["annotator_b"], row["common"]) == ("rule_a", "rule_b", 10)
    assert row["equal"] == pytest.approx(0.7)
    assert row["kappa"] == pytest.approx(0.4)


def test_kappa_says_nothing_of_too_little():
    assert np.isnan(kappas(answers(rule_a="s", rule_b="s"))["equal"].iloc[0])
    constant = kappas(answers(rule_a="sss", rule_b="sss")).iloc[0]
    assert constant["equal"] == 1
    assert np.isnan(constant["kappa"])
    assert kappas(answers(rule_a="sd")).empty
    assert len(kappas(answers(a="sd", b="sd", c="dd"))) == 3


def test_alpha_of_krippendorffs_own_example():
    # Krippendorff (2011), section C: four observers, twelve units, nominal, with missing data: alpha = 0.743.
    observed = answers(a="123321412...", b="1233224125.3", c=".3332342251.", d="12332441251.")
    assert alpha(observed) == pytest.approx(0.743, abs=5e-4)


def test_alpha_says_nothing_of_too_little():
    assert np.isnan(alpha(answers(a="sss", b="sss")))
    assert np.isnan(alpha(answers(a="sd")))
    assert np.isnan(alpha(answers()))
    assert alpha(answers(a="sdsd", b="sdsd")) == 1


def test_self_agreement_counts_what_was_asked_twice():
    table = with_oneself(answers(a="sdsd", b="ss"), answers(a="ss.d"))
    assert table.loc["a"].tolist() == [3, pytest.approx(2 / 3)]
    assert table.loc["b", "repeated"] == 0
    assert np.isnan(table.loc["b", "self_agreement"])
