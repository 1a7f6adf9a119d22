"""What `make bench` compares gives the same maps, and the committed page is made of the committed figures."""

import json

import torch

from bench import occlusion, page, peers
from kd_lib import models
from tests.test_notebooks import PROJECT


def test_the_page_tells_what_was_measured():
    book = PROJECT / "book"
    figures = json.loads((book / "speed.json").read_text(encoding="utf-8"))
    assert page.render(figures) == (book / "speed.md").read_text(encoding="utf-8")


def test_what_is_compared_is_the_same():
    torch.manual_seed(0)
    model, images = models.build("resnet10", 3).eval(), torch.randn(2, 3, 8, 9)
    ours = occlusion.engine(model, images)
    theirs = peers.captum(model, images, occlusion.PATCH, target=None, perturbations=3)
    theirs = theirs.view(2, 3, 3, 8, 9)[:, :, 0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    one = peers.captum(model, images, occlusion.PATCH, target=2)[:, 0]
    torch.testing.assert_close(ours[:, 2], one, rtol=0, atol=1e-6)
