import math

import pytest
import torch

from kd_lib.regime import count_steps
from tests.trainings import regime


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
