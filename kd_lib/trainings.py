"""Who learns what from whom: the networks of a run, each trained as its role asks."""

from typing import TYPE_CHECKING

import pandas as pd

from kd_lib import cluster, store, study, training
from kd_lib.data import Dataset, with_shuffled_labels
from kd_lib.models import HALF_TAUGHT, SELF_DISTILLATION, SHUFFLED
from kd_lib.regime import Regime
from kd_lib.techniques import train_technique

if TYPE_CHECKING:
    from distributed import Client


def train_all(
    run: store.Run, dataset: Dataset, regime: Regime, *, client: "Client | None" = None, **options
) -> pd.DataFrame:
    """Train every network that is recorded in a run, or what is left of it; a student waits for its teachers only.

    Parameters
    ----------
    run : store.Run
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
    images = dataset if client is None else client.submit(study.load_data, run)
    names = list(study.roles(run))
    histories = cluster.each(client, train, names, images, regime, after=_teachers(run), run=run, **options)
    return pd.concat(histories, ignore_index=True)


def _teachers(run: store.Run) -> dict[str, list[str]]:
    """Networks that those who are taught learn from."""
    components = study.components(run)
    return {
        study.distilled(run): components,
        HALF_TAUGHT: study.halves(run)[0],
        SELF_DISTILLATION: components[:1],
    }


def train(
    name: str,
    dataset: Dataset,
    regime: Regime,
    *,
    run: store.Run,
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
    run : store.Run
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
    options |= {"run": run, "seed": seed, "device": device}
    softened = {"temperature": temperature, "hard_weight": hard_weight}
    if name in study.techniques(run):
        first = study.network(run, study.components(run)[0], device=device) if name == SELF_DISTILLATION else None
        return train_technique(name, dataset, regime, component=first, **softened, **options)
    if name == study.distilled(run):
        teacher = study.ensemble_of(run, study.components(run), device=device)
        return training.train(name, dataset, regime, teacher=teacher, **softened, **options)
    if name == HALF_TAUGHT:
        teacher = study.ensemble_of(run, study.halves(run)[0], device=device)
        return training.train(name, dataset, regime, teacher=teacher, **softened, **options)
    if name == SHUFFLED:
        dataset = with_shuffled_labels(dataset, seed=seed)
    return training.train(name, dataset, regime, **options)
