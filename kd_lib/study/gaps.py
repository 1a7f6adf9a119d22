"""Which test images the networks and the ensemble of a run classify correctly."""

import pandas as pd
import torch

from kd_lib.data import Dataset
from kd_lib.measures.gaps import ENSEMBLE
from kd_lib.networks import training
from kd_lib.study import reading
from kd_lib.study.run import Run


def right_answers(run: Run, dataset: Dataset, *, device: str = "auto") -> pd.DataFrame:
    """Which test images every network of the study and the ensemble classify correctly, at their last epoch.

    Takes one forward pass a network; the ensemble's outputs are the mean of its components' (`models.Ensemble`).

    Returns
    -------
    DataFrame
        A row a network and test image: kind ('component', 'distilled', 'other' or 'ensemble'), model, image (position
        in the source), right.
    """
    outputs = {
        name: training.predict(reading.network(run, name, device=device), dataset, dataset.test)
        for name in reading.networks(run)
    }
    if len(members := reading.components(run)) > 1:
        averaged = torch.stack([outputs[name] for name in members])
        outputs[ENSEMBLE] = (averaged if run.parameters["ensemble_output"] == "logits" else averaged.softmax(-1)).mean(
            0
        )
    kinds, frames = reading.roles(run) | {ENSEMBLE: ENSEMBLE}, []
    for name, logits in outputs.items():
        columns = {"image": dataset.test.index, "right": logits.argmax(1) == dataset.test.labels}
        frames.append(pd.DataFrame(columns).assign(kind=kinds[name], model=name))
    return pd.concat(frames, ignore_index=True)[["kind", "model", "image", "right"]]
