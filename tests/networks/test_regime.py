import math

import pytest
import torch

from kd_lib.networks.regime import count_steps, optimiser_and_schedule
from tests.trainings import net, regime


@pytest.mark.parametrize(
    ("images", "batch_size", "sizes"), [(48, 16, [16] * 3), (50, 16, [13, 13, 12, 12]), (3, 8, [3])]
)
def test_an_epoch_leaves_no_image_out(images, batch_size, sizes):
    steps = count_steps(images, batch_size)
    assert [len(rows) for rows in torch.arange(images).tensor_split(steps)] == sizes


@pytest.mark.parametrize(
    "change",
    [
        {"arch": "resnet1"},
        {"optimiser": "lion"},
        {"precision": "float16"},
        {"schedule": "cosine"},
        {"epochs": 0},
        {"epochs": 2.5},
        {"batch_size": 1},
        {"crop_padding": -1},
        {"max_lr": 0.0},
        {"max_lr": math.nan},
        {"max_lr": "0.1"},
        {"momentum": 1.0},
        {"weight_decay": -1e-4},
        {"flip": "yes"},
    ],
    ids=str,
)
def test_regime_names_the_bad_value(change):
    (value,) = change.values()
    with pytest.raises(ValueError, match="expected") as error:
        regime(**change)
    assert repr(value) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_schedule_is_linear_up_and_down(optimiser):
    chosen = regime(optimiser=optimiser, max_lr=0.4, momentum=0.8)
    stepper, schedule = optimiser_and_schedule(net(), chosen, steps=100)
    rates = []
    for _ in range(100):
        rates.append(stepper.param_groups[0]["lr"])
        momentum = stepper.param_groups[0]["momentum" if optimiser == "sgd" else "betas"]
        assert momentum == (0.8 if optimiser == "sgd" else (0.8, 0.999))
        stepper.step()
        schedule.step()
    assert rates.index(max(rates)) == 29
    assert max(rates) == pytest.approx(0.4)
    bends = [abs(a - 2 * b + c) > 1e-6 for a, b, c in zip(rates, rates[1:], rates[2:], strict=False)]
    assert sum(bends) == 1


def test_a_constant_rate_is_half_of_the_peak():
    stepper, schedule = optimiser_and_schedule(net(), regime(max_lr=0.4, schedule="constant"), steps=20)
    for _ in range(20):
        assert stepper.param_groups[0]["lr"] == pytest.approx(0.2)
        stepper.step()
        schedule.step()
