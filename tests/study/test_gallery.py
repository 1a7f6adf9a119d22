"""Illustrations stop no study, whatever the images and the networks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from kd_lib import figures
from kd_lib.maps import attributions
from kd_lib.study import gallery


def study_of(size, network=None):
    """Stand in for an opened study of images of some height and width, two classes and one network."""
    images = torch.randint(0, 256, (4, 3, *size), dtype=torch.uint8)
    network = network or nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    probe = SimpleNamespace(images=images, labels=torch.tensor([0, 1, 0, 1]))
    return SimpleNamespace(
        dataset=SimpleNamespace(probe=probe, normalise=lambda images: images / 255 - 0.5),
        labels=probe.labels.numpy(),
        networks=["a"],
        class_names=["cat", "dog"],
        network=lambda name, device: network.eval(),
        store=SimpleNamespace(settings={"patch": 1, "stride": 1}),
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1, 1), [1]), ((3, 50), [1, 2]), ((6, 40), [1, 2, 4]), ((7, 8), [1, 2, 4]), ((8, 8), [1, 2, 4, 8])]
    + [((64, 16), [1, 2, 4, 8]), ((64, 64), [2, 4, 8, 16])],
)
def test_patches_fit_their_images(size, expected):
    rows, names = gallery.patches(study_of(size), 3)
    assert names == [f"{n} × {n}" for n in expected]
    assert [m.shape for m in rows[0][2]] == [size] * len(expected)
    assert "<img" in figures.map_grid(rows, names, title="one", description="one", shared=False).data


def test_columns_are_of_methods_that_explain_every_image(monkeypatch):
    def some(net, image, target, **_):
        ones = np.ones(image.shape[-2:])
        return {"Occlusion": ones, **({"Saliency": 2 * ones} if target else {}), "GradCAM": ones * np.nan}

    monkeypatch.setattr(attributions, "methods", some)
    rows, names = gallery.methods(study_of((5, 5)))
    assert names == ["Occlusion", "GradCAM"]
    assert [(name, [m[0, 0] for m in maps]) for name, _, maps in rows] == [
        (name, [1, pytest.approx(np.nan, nan_ok=True)]) for name in ("cat", "dog")
    ]
    assert "<img" in figures.map_grid(rows, names, title="one", description="one", shared=False).data
