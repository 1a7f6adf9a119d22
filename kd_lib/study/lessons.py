"""Who is taught what by whom, so that a view is known to some teachers of an ensemble and to no others.

On drawn images one can decide who knows what. Networks that differ in nothing else learn from images as they are, or
from the same images without one view of every class. Ensembles with 0 to M members that know the view teach students.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from kd_lib.data.multiview import VIEWS
from kd_lib.data.planting import APART, NEVER, WHOLE
from kd_lib.networks.answers import PERMUTED, SOFT, TOP
from kd_lib.networks.architectures import component_names
from kd_lib.networks.regime import Regime, check_number
from kd_lib.study import pipeline
from kd_lib.study.reading import Study

STUDENT, COMPONENT, UNTRAINED, TEACHERS = "distilled", "component", "untrained", "teachers"
COMPLEMENTARY = "complementary"  # an arm
BROUGHT = "The networks of this run were brought, and nothing is trained in it: no feature is planted."
ALL = -1  # stands for every teacher
NO_VIEWS = "These images are photographs: nobody can plant a feature in them, so there is nothing to inherit here."


class Arm(NamedTuple):
    """Students that are taught alike: what their images show, what their teachers say, and how it is learnt."""

    shown: str = APART
    answers: str = SOFT
    temperature: float | None = None  # None: the run's
    hard_weight: float = 0.0
    known: tuple[int, ...] | None = None  # numbers of teachers that know the view; None: 0 to M
    complementary: bool = False  # every teacher lacks a view, each another one


# The arms of each experiment. Those of `softness` vary one thing each of the arm 'alone or never', which has the run's
# temperature, 4 by default, and no labels.
EXPERIMENTS: dict[str, dict[str, Arm]] = {
    "alone": {"alone or never": Arm()},
    "beside": {"beside others": Arm(WHOLE)},
    "top": {
        "alone or never, top answer": Arm(answers=TOP, temperature=1.0),
        "beside others, top answer": Arm(WHOLE, TOP, 1.0),
    },
    "never": {"never": Arm(NEVER, known=(0, ALL))},
    COMPLEMENTARY: {COMPLEMENTARY: Arm(WHOLE, known=(0,), complementary=True)},
    "softness": {
        **{f"temperature {t:g}": Arm(temperature=t, known=(0, 1)) for t in (1.0, 2.0, 8.0)},
        **{f"label weight {w:g}": Arm(hard_weight=w, known=(0, 1)) for w in (0.25, 0.5, 1.0)},
        "permuted": Arm(answers=PERMUTED, known=(0, 1)),
    },
}


class Network(NamedTuple):
    """How one network of an experiment is made; its key is where its files lie."""

    seed: int
    place: str
    name: str  # of `architectures.seed_of`: with the seed it decides the initial weights and the order of the images
    view: int
    shown: str
    teachers: tuple[str, ...] = ()
    answers: str = SOFT
    temperature: float = 1.0
    hard_weight: float = 0.0
    trained: bool = True

    @property
    def key(self) -> str:
        """Folder and name, below `inheritance/`."""
        return f"seed-{self.seed}/{self.place}/{self.name}"


class Plan(NamedTuple):
    """All that is to be trained, and who is who; nothing where `lacking` says why."""

    networks: dict[str, Network]  # by key, teachers first
    students: dict[tuple[int, str, int], str]  # (seed, arm, teachers that know the view) to key
    teachers: int
    regime: Regime
    images: dict[str, Any]  # arguments of `data.load`
    classes: int
    lacking: str = ""

    @property
    def chance(self) -> float:
        """Accuracy of who knows nothing."""
        return 1 / self.classes

    def in_words(self) -> str:
        """Say what is to be trained, or why nothing is."""
        if self.lacking:
            return self.lacking
        taught = sum(bool(network.teachers) for network in self.networks.values())
        return f"{len(self.networks)} networks, {taught} of them students: {', '.join(self.arms)}"

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in order."""
        return list(dict.fromkeys(arm for _, arm, _ in self.students))


def check(chosen: Mapping[str, Any]) -> None:
    """Refuse parameters of `inheritance` that are out of their range, with a ValueError."""
    least = {"teachers": 2, "seeds": 1, "planted_images": 20, "planted_test_size": 40}
    for name, bound in (least | {"planted_epochs": 1, "planted_batch_size": 2}).items():
        if type(chosen[name]) is not int or chosen[name] < bound:
            raise ValueError(f"{name}={chosen[name]!r}: expected a whole number, at least {bound}")
    check_number("planted_max_lr", chosen["planted_max_lr"], above=0)
    check_number("view_share", chosen["view_share"], above=0, most=1)
    if unknown := [name for name in chosen["experiments"] if name not in EXPERIMENTS]:
        raise ValueError(f"unknown experiment {unknown[0]!r}: expected a list of some of {', '.join(EXPERIMENTS)}")
    if repeated := [name for name in EXPERIMENTS if chosen["experiments"].count(name) > 1]:
        raise ValueError(f"experiment {repeated[0]!r} is asked for twice: name each once")


def plan(here: Study, chosen: Mapping[str, Any]) -> Plan:
    """Decide which networks the experiments take.

    Parameters
    ----------
    here : Study
        Whose parameters say how networks are trained, as far as `chosen` does not.
    chosen : mapping
        Parameters of the notebook `inheritance`.

    Returns
    -------
    Plan
        Empty where views cannot be planted, as in photographs, and where the run's networks were brought.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    """
    check(chosen)
    teachers, of_run, classes = chosen["teachers"], here.parameters, len(here.class_names)
    lacking = NO_VIEWS if not here.drawn else BROUGHT if "arch" not in of_run else ""
    if lacking:
        return Plan({}, {}, teachers, Regime(), {}, classes, lacking)
    own = {name: chosen[f"planted_{name}"] for name in ("epochs", "batch_size", "max_lr")}
    regime = replace(pipeline.regime(of_run), **own)
    images = {"train_size": chosen["planted_images"], "test_size": chosen["planted_test_size"], "probe_per_class": 1}
    images |= {name: of_run[name] for name in ("single_view", "seed")}
    arms = {label: arm for name in chosen["experiments"] for label, arm in EXPERIMENTS[name].items()}
    planned = Plan({}, {}, teachers, regime, images, classes)
    for seed in range(chosen["seeds"]):
        _add(planned, seed, arms, of_run["temperature"])
    order = sorted(planned.networks, key=lambda key: bool(planned.networks[key].teachers))
    return planned._replace(networks={key: planned.networks[key] for key in order})


def _add(planned: Plan, seed: int, arms: Mapping[str, Arm], temperature: float) -> None:
    """Add the networks of one seed, which plants the view of its number."""
    letters, view = component_names(planned.teachers), seed % VIEWS

    def add(network: Network) -> str:
        return planned.networks.setdefault(network.key, network) and network.key

    knows = [add(Network(seed, "knows", name, view, WHOLE)) for name in letters]
    lacks = [add(Network(seed, f"lacks-{view}", name, view, NEVER)) for name in letters]
    add(Network(seed, UNTRAINED, STUDENT, view, WHOLE, trained=False))
    for label, arm in arms.items():
        doses = range(planned.teachers + 1) if arm.known is None else arm.known
        for known in (planned.teachers if dose == ALL else dose for dose in doses):
            taught_by = [*knows[:known], *lacks[known:]]
            if arm.complementary:
                lacking = [(view + place) % VIEWS for place in range(planned.teachers)]
                taught_by = [
                    add(Network(seed, f"lacks-{own}", name, own, NEVER))
                    for name, own in zip(letters, lacking, strict=True)
                ]
            warmth = temperature if arm.temperature is None else arm.temperature
            how = (arm.shown, tuple(taught_by), arm.answers, float(warmth), arm.hard_weight)
            place = f"{re.sub('[^a-z0-9.]+', '-', label)}-{known}-of-{planned.teachers}"
            planned.students[seed, label, known] = add(Network(seed, place, STUDENT, view, *how))
