"""What `make bench` compares gives the same maps, and its page tells what was measured."""

import math

import torch

from bench import occlusion, page, peers, timing
from kd_lib.networks import architectures


def test_the_page_tells_what_was_measured():
    """Figures made up for this test: no machine gave them."""
    way = {"way": "this engine", "maps a second": 1234.5, "times slower than float32": 1, "times slower than auto": 2.5}
    peak = {"in": "float32", "nominal multiply-adds": 37e6, "done": 18e6, "occluded images a second": 4321.0}
    page_of = page.render(
        {
            "cpu": {
                "made by": {
                    "hardware": {"cpu": "a processor", "gpu": None},
                    "versions": {"python": "3.11", "torch": "2.6"},
                    "threads": 2,
                    "created": "2022-02-22T22:22",
                    "commit": None,
                },
                "peers": {"captum": "0.8"},
                "rounds": 5,
                "occlusion": [way],
                "share of peak": [
                    peak | {"precision": p, "share of peak": 0.25, "peak": 4e9} for p in ("float32", "auto")
                ],
                "growth": {"twice the images": 2.01},
                "two workers": 1.8,
                "memory": [{"images": 100_000, "states": 1, "MB above torch": 432.1}],
                "training": [{"network": "a net", "float32": 800.0, "bfloat16": 1.0, "loader": 500.0, "ratio": 1.6}],
            },
        }
    )
    for figure in (
        "| 1,234 |",
        "2.50 x",
        "37.0 M",
        "18.0 M",
        "25% of 4 G/s",
        "2.01 x the time",
        "1.80 x",
        "432 MB",
        "1.60",
    ):
        assert figure in page_of
    assert "On the GPU" not in page_of


def test_what_is_compared_is_the_same():
    torch.manual_seed(0)
    model, images = architectures.build("resnet10", 3).eval(), torch.randn(2, 3, 8, 9)
    ours = occlusion.engine(model, images)
    theirs = peers.captum(model, images, occlusion.PATCH, target=None, perturbations=3)
    theirs = theirs.view(2, 3, 3, 8, 9)[:, :, 0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    one = peers.captum(model, images, occlusion.PATCH, target=2)[:, 0]
    torch.testing.assert_close(ours[:, 2], one, rtol=0, atol=1e-6)


def test_what_does_not_fit_into_memory_is_never_the_quickest():
    def too_large():
        raise torch.OutOfMemoryError("a device that is full")

    assert timing.within_memory(too_large) == math.inf
    assert 0 <= timing.within_memory(int) < math.inf
