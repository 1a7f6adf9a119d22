"""What annotators are asked about, made up: three networks, 30 images of 5 classes. No answer is a person's."""

import numpy as np
import pandas as pd
import pytest

from kd_lib.people.annotations import Annotations

NAMES = ["a", "b", "distilled"]


@pytest.fixture
def asked(tmp_path):
    return Annotations(tmp_path / "annotations", NAMES, np.arange(30) % 5, [f"class {k}" for k in range(5)], drawn=True)


@pytest.fixture(scope="session")
def pairs():
    rng = np.random.default_rng(0)
    image, target, couple = (a.ravel() for a in np.indices((30, 5, 3)))
    names = np.array([("a", "b"), ("a", "distilled"), ("b", "distilled")])
    similarity = np.clip(rng.normal(0.6, 0.4, len(image)), -1, 1)
    columns = {"model_a": names[couple, 0], "model_b": names[couple, 1], "image": image, "target": target}
    return pd.DataFrame(columns | {"on_target": image % 5 == target, "pearson": similarity, "cosine": similarity})
