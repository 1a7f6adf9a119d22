"""The headlines under several choices, on a tiny run, and what is said of them."""

import numpy as np
import pandas as pd
import pytest

from kd_lib.measures import threshold
from kd_lib.measures.statistics import Interval
from kd_lib.study import headlines, reading, sensitivity
from kd_lib.study import threshold as study_threshold
from tests.trained_run import make

GAIN = "similarity, distilled less leave-one-out, on target"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    place = make(tmp_path_factory.mktemp("run"))
    table = threshold.choose(threshold.fit_all(None)[0], measure="pearson", loss="log", source="none")
    place.run.write_csv(table, "threshold")
    return place


def frame(**choices):
    rows = [(name, "RQ3", GAIN, *numbers) for name, numbers in choices.items()]
    return pd.DataFrame(rows, columns=sensitivity.COLUMNS).replace({"choice": {"own": sensitivity.DEFAULT}})


def test_verdicts_by_hand():
    found = sensitivity.verdicts(
        frame(own=(0.2, 0.1, 0.3), up=(0.5, 0.4, 0.6), zero=(0.1, -0.1, 0.3), down=(-0.2, -0.3, -0.1))
    )
    assert dict(zip(found["choice"], found["verdict"], strict=True)) == {
        "up": "survives",
        "zero": "cannot tell",
        "down": "reversed",
    }
    assert set(sensitivity.verdicts(frame(own=(0.2, -0.1, 0.3), up=(0.5, 0.4, 0.6)))["verdict"]) == {
        "no answer to begin with"
    }
    unknown = sensitivity.verdicts(frame(own=(0.2, 0.1, 0.3), one_image=(0.2, np.nan, np.nan)))
    assert unknown["verdict"].tolist() == ["cannot tell"]
    below = sensitivity.verdicts(frame(own=(-0.2, -0.3, -0.1), down=(-0.2, -0.3, -0.1)))
    assert below[["sign", "verdict"]].values.tolist() == [[-1, "survives"]]


def test_sentences_say_what_survives_and_what_does_not():
    (said,) = sensitivity.sentences(frame(own=(0.2, 0.1, 0.3), up=(0.5, 0.4, 0.6)))
    assert said == f"RQ3, {GAIN}: above 0, and so under every other choice (1 of 1), 2.50 to 2.50 times as large."
    (said,) = sensitivity.sentences(frame(own=(0.2, 0.1, 0.3), up=(0.5, 0.4, 0.6), down=(-0.2, -0.3, -0.1)))
    assert said == (
        f"RQ3, {GAIN}: above 0, but not under 1 of 2 other choices (down: reversed, -0.20 (-0.30 to -0.10))."
    )
    (said,) = sensitivity.sentences(frame(own=(0.2, -0.1, 0.3), up=(0.5, 0.4, 0.6)))
    assert "this run's own choices give no answer" in said
    (said,) = sensitivity.sentences(frame(own=(0.2, 0.1, 0.3)))
    assert "nothing can survive or fail" in said


def test_a_choice_without_a_threshold_of_its_own_is_named():
    own = frame(own=(0.8, 0.7, 0.9), probs=(0.53, np.nan, np.nan)).assign(headline=headlines.T_C)
    assert sensitivity.sentences(own)[0].startswith(
        "probs: no labels fix a threshold for its maps, so the published 0.53"
    )
    given = own.assign(low=np.nan, high=np.nan)  # T_c as a parameter
    assert not any("published" in sentence for sentence in sensitivity.sentences(given))


def test_a_star_marks_an_interval_without_the_runs_own_value():
    beside = sensitivity.beside_default(frame(own=(0.2, 0.1, 0.3), near=(0.3, 0.2, 0.4), far=(0.5, 0.4, 0.6)))
    assert beside["default"].tolist() == [0.2] * 3
    assert beside["differs"].tolist() == [False, False, True]
    table = sensitivity.table(beside)
    assert table.loc[("RQ3", GAIN)].tolist() == ["0.20 (0.10 to 0.30)", "0.30 (0.20 to 0.40)", "0.50 (0.40 to 0.60) *"]
    assert table.columns.tolist() == [sensitivity.DEFAULT, "near", "far"]


def test_a_headline_that_a_choice_lacks_is_a_dash():
    one = frame(own=(0.2, 0.1, 0.3), near=(0.3, 0.2, 0.4))
    more = pd.concat([one, one.iloc[:1].assign(question="accuracy", headline="accuracy, ensemble")])
    assert sensitivity.table(sensitivity.beside_default(more)).loc[("accuracy", "accuracy, ensemble"), "near"] == "–"


def test_every_kind_of_choice_has_its_headlines(here):
    names = ["output=probs", "patch=16 stride=16", "single_view=0.5"]
    found = sensitivity.compare(here, names)
    assert found.columns.tolist() == ["choice", "question", "headline", "value", "low", "high"]
    assert found["choice"].unique().tolist() == [sensitivity.DEFAULT, *names]
    by_choice = {name: group.set_index("headline")["value"] for name, group in found.groupby("choice")}
    own = by_choice[sensitivity.DEFAULT]
    assert set(by_choice["single_view=0.5"].index) == set(own.index)
    assert {"accuracy, ensemble", "views known, distilled less component"} <= set(own.index)
    assert "accuracy, ensemble" not in by_choice["output=probs"]
    for name in names:
        assert by_choice[name][GAIN] != own[GAIN]
    again = sensitivity.compare(here, names)
    pd.testing.assert_frame_equal(again, found)


def test_a_threshold_that_is_given_is_that_of_all_choices(here):
    found = sensitivity.compare(here, ["output=log-probs"], threshold=0.25)
    assert found.loc[found["headline"] == "T_c", "value"].tolist() == [0.25, 0.25]
    assert found.loc[found["headline"] == "T_c", "low"].isna().all()


def test_no_choices_leave_the_runs_own(here):
    found = sensitivity.compare(here, [])
    assert set(found["choice"]) == {sensitivity.DEFAULT}
    own = headlines.of_maps(here, Interval(threshold.PUBLISHED, np.nan, np.nan))
    assert found["value"].tolist() == own["value"].tolist()


def test_the_rule_that_gave_the_threshold_is_taken_again(here, monkeypatch):
    asked = []
    monkeypatch.setattr(study_threshold, "determine", lambda _, **rule: asked.append(rule) or Interval(0.5, 0.4, 0.6))
    before = here.run.read_csv("threshold")
    row = {"measure": "cosine", "loss": "mse", "value": 0.3, "low": 0.2, "high": 0.4, "used": True}
    here.run.write_csv(pd.concat([before.assign(used=False), pd.DataFrame([row])]), "threshold")
    found = sensitivity.compare(here, ["output=probs"], view_share=0.7, seed=3)
    here.run.write_csv(before, "threshold")
    assert asked == [{"measure": "cosine", "loss": "mse", "view_share": 0.7, "seed": 3}]
    assert found.loc[found["headline"] == "T_c", ["value", "low", "high"]].values.tolist() == [
        [0.3, 0.2, 0.4],
        [0.5, 0.4, 0.6],
    ]
    assert reading.open(here.run).t_c == threshold.PUBLISHED
