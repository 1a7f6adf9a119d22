"""Who is taught what by whom."""

from types import SimpleNamespace

import pytest

from kd_lib.study import lessons
from tests.trained_run import SETTINGS

CHOSEN = {
    "experiments": ["alone"],
    "teachers": 3,
    "seeds": 1,
    "planted_images": 60,
    "planted_epochs": 2,
    "planted_batch_size": 20,
    "planted_max_lr": 0.01,
    "planted_test_size": 60,
    "view_share": 0.5,
}


def plan(parameters=SETTINGS, drawn=True, **changes):
    here = SimpleNamespace(parameters=parameters, drawn=drawn, class_names=[f"class {k}" for k in range(10)])
    return lessons.plan(here, CHOSEN | changes)


def taught_by(planned, arm, known, seed=0):
    return planned.networks[planned.students[seed, arm, known]].teachers


def test_ensembles_have_none_up_to_all_that_know_the_view():
    planned = plan()
    assert planned.arms == ["alone or never"]
    for known in range(4):
        teachers = [planned.networks[key] for key in taught_by(planned, "alone or never", known)]
        assert [teacher.shown for teacher in teachers] == ["whole"] * known + ["never"] * (3 - known)
        assert [teacher.name for teacher in teachers] == ["a", "b", "c"]
    assert planned.in_words() == "11 networks, 4 of them students: alone or never"
    assert planned.regime.epochs == 2
    assert planned.regime.weight_decay == SETTINGS["weight_decay"]
    assert planned.chance == 0.1


def test_whoever_teaches_comes_before_whom_it_teaches_and_keys_are_places():
    planned = plan(experiments=list(lessons.EXPERIMENTS), seeds=2)
    done = set()
    for key, network in planned.networks.items():
        assert key == network.key
        assert done.issuperset(network.teachers)
        done.add(key)
    assert all(key.replace("/", "").replace("-", "").replace(".", "").isalnum() for key in done)
    assert len(planned.students) == len(set(planned.students.values()))


def test_each_seed_plants_another_view():
    planned = plan(seeds=4)
    assert [planned.networks[f"seed-{s}/knows/a"].view for s in range(4)] == [0, 1, 2, 0]
    assert {key for key in planned.networks if "lacks" in key and key.endswith("a")} == {
        "seed-0/lacks-0/a",
        "seed-1/lacks-1/a",
        "seed-2/lacks-2/a",
        "seed-3/lacks-0/a",
    }


def test_complementary_teachers_lack_each_another_view():
    planned = plan(experiments=["complementary"], teachers=4)
    teachers = [planned.networks[key] for key in taught_by(planned, "complementary", 0)]
    assert [(teacher.view, teacher.shown) for teacher in teachers] == [(v, "never") for v in (0, 1, 2, 0)]
    assert teachers[0].key == "seed-0/lacks-0/a"


def test_softness_varies_one_thing_an_arm():
    planned = plan(experiments=["softness", "top"])
    hot = planned.networks[planned.students[0, "temperature 8", 1]]
    assert (hot.temperature, hot.hard_weight, hot.answers, hot.shown) == (8.0, 0.0, "soft", "apart")
    hard = planned.networks[planned.students[0, "label weight 0.5", 0]]
    assert (hard.temperature, hard.hard_weight) == (SETTINGS["temperature"], 0.5)
    top = planned.networks[planned.students[0, "alone or never, top answer", 3]]
    assert (top.temperature, top.answers) == (1.0, "top")


def test_where_nothing_can_be_planted_nothing_is_planned():
    photographs = plan(drawn=False)
    assert not photographs.networks
    assert photographs.in_words().startswith("These images are photographs")
    brought = plan(parameters={"data_set": "multiview", "ensemble_output": "logits"})
    assert not brought.networks
    assert "were brought" in brought.in_words()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": 1}, "teachers=1: expected a whole number, at least 2"),
        ({"seeds": 0}, "seeds=0: expected a whole number, at least 1"),
        ({"planted_images": 2.5}, "planted_images=2.5: expected a whole number, at least 20"),
        ({"planted_max_lr": 0}, "planted_max_lr is 0: expected a finite number above 0"),
        ({"view_share": 2.0}, "view_share is 2.0: expected a finite number at most 1 and above 0"),
        ({"experiments": ["alone", "dose"]}, "unknown experiment 'dose': expected a list of some of alone, beside"),
        ({"experiments": ["alone", "alone"]}, "experiment 'alone' is asked for twice: name each once"),
    ],
)
def test_what_cannot_be_done_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        plan(**changes)
