"""Who learns what from whom: the networks of a run, each trained as its role asks."""

from typing import TYPE_CHECKING

import pandas as pd

from kd_lib import _workers
from kd_lib.data import Dataset, with_shuffled_labels
from kd_lib.networks import training
from kd_lib.networks.architectures import HALF_TAUGHT, SELF_DISTILLATION, SHUFFLED
from kd_lib.networks.regime import Regime
from kd_lib.networks.techniques import train_technique
from kd_lib.study import reading
from kd_lib.study.run import Run

if TYPE_CHECKING:
    from distributed import Client


def train_all(run: Run, dataset: Dataset, regime: Regime, *, client: "Client | None" = None, **options) -> pd.DataFrame:
    """Train every network that is recorded in a run, or what is left of it; a student waits for its teachers only.

    Parameters
    ----------
    run : Run
        Whose entry `networks` says which, see `study.recipes`.
    dataset : Dataset
        That of the run; each worker loads its own.
    regime : Regime
    client : distributed.Client, optional
        Whose workers train one network each at a time, see `cluster.connect`; None trains here, one after the other.
    **options
        Of `train`.

    Returns
    -------
    DataFrame
        The histories of `training.train`, in the order of the record.
    """
    images = dataset if client is None else client.submit(reading.load_data, run)
    names = list(reading.roles(run))
    histories = _workers.each(client, train, names, images, regime, after=_teachers(run), run=run, **options)
    return pd.concat(histories, ignore_index=True)


def _teachers(run: Run) -> dict[str, list[str]]:
    """Networks that those who are taught learn from."""
    components = reading.components(run)
    return {
        reading.distilled(run): components,
        HALF_TAUGHT: reading.halves(run)[0],
        SELF_DISTILLATION: components[:1],
    }


def train(
    name: str,
    dataset: Dataset,
    regime: Regime,
    *,
    run: Run,
    seed: int,
    device: str = "auto",
    temperature: float = 4.0,
    hard_weight: float = 0.0,
    **options,
) -> pd.DataFrame:
    """Train one network as its role asks: on which labels, and from which teacher.

    Parameters
    ----------
    name : str
        A network of the run. Those that it learns from are trained already.
    dataset : Dataset
        With the true labels.
    regime : Regime
    run : Run
    seed : int
        The run's seed; also that of the order of shuffled labels.
    device : {'auto', 'cpu', 'cuda'}
    temperature, hard_weight : float
        Of distillation, see `training.distillation_loss`.
    **options
        Of `training.train`.

    Returns
    -------
    DataFrame
        History of the training.
    """
    options |= {"checkpoints": run.checkpoints, "seed": seed, "device": device}
    softened = {"temperature": temperature, "hard_weight": hard_weight}
    if name in reading.techniques(run):
        first = reading.network(run, reading.components(run)[0], device=device) if name == SELF_DISTILLATION else None
        return train_technique(name, dataset, regime, component=first, **softened, **options)
    if name == reading.distilled(run):
        teacher = reading.ensemble_of(run, reading.components(run), device=device)
        return training.train(name, dataset, regime, teacher=teacher, **softened, **options)
    if name == HALF_TAUGHT:
        teacher = reading.ensemble_of(run, reading.halves(run)[0], device=device)
        return training.train(name, dataset, regime, teacher=teacher, **softened, **options)
    if name == SHUFFLED:
        dataset = with_shuffled_labels(dataset, seed=seed)
    return training.train(name, dataset, regime, **options)
