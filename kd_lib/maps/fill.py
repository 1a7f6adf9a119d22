"""Explain every network of a run: fill the store of occluded logits, block by block."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn
from tqdm import tqdm

from kd_lib import _workers
from kd_lib.maps.occlusion import occluded_logits
from kd_lib.maps.store import MapStore

if TYPE_CHECKING:
    from distributed import Client

Loader = Callable[[str, int], nn.Module]
Explainer = Callable[[nn.Module, Tensor], np.ndarray]


def fill(
    store: MapStore,
    load_model: Loader,
    images: Tensor,
    *,
    normalise: Callable[[Tensor], Tensor] | None = None,
    batch_size: int | None = None,
    progress: bool = True,
    client: "Client | None" = None,
) -> int:
    """Compute what a store of occluded logits still lacks, block by block.

    May be killed at any time; the next call goes on from the last whole block. Every block that is found is read first,
    and counts as lacking unless it matches its checksum. In memory are one block, and the one before while it is
    written.

    Parameters
    ----------
    store : MapStore
        Fixes patch, stride, baseline and precision.
    load_model : callable
        Gives the network of a (model, epoch), on the device to compute on; called once a state that lacks something.
    images : Tensor, shape (N, C, H, W)
        The images the store was made for, in its order.
    normalise : callable, optional
        Makes a block of them what the networks take, where it is needed, so that a large number may stay uint8; see
        `Dataset.normaliser`. By default they are normalised already.
    batch_size : int, optional
        As for `occluded_logits`.
    progress : bool
        Whether to show progress: in blocks while they are checked, then in maps (one an image and class) a second,
        with the time left.
    client : distributed.Client, optional
        Whose workers check and compute the blocks, see `_workers.connect`; they call `load_model` and must see the
        store's path. This process by default.

    Returns
    -------
    int
        Number of blocks computed.

    Raises
    ------
    ValueError
        If `images` are not as many or not of the size the store was made for.
    OSError
        If the device is full: the blocks written so far are kept, the one at hand is not.
    """
    stored = (len(store.labels), *store.image_size)
    if (len(images), *images.shape[-2:]) != stored:
        raise ValueError(f"images have shape {tuple(images.shape)}: {store.path} was made for (N, H, W) = {stored}")
    found = store.stored()
    with tqdm(total=len(found), desc="checking", unit="block", disable=not (progress and found)) as bar:
        for checked in _workers.completed(client, _check, [(store, *chunk) for chunk in found], what=MapStore.name):
            bar.update(checked)
    todo = store.missing()
    blocks = {block: images[store.rows(block)] for block in {block for _, block in todo}}
    total = sum(len(blocks[block]) for _, block in todo) * len(store.class_names)
    explain = partial(_explain, normalise, store.settings | {"batch_size": batch_size})
    if client is None:
        done = _here(store, load_model, explain, todo, blocks)
    else:
        held = {block: _workers.hold(client, part) for block, part in blocks.items()}
        tasks = [(store, load_model, explain, *chunk, held[chunk[1]]) for chunk in todo]
        done = _workers.completed(client, _compute, tasks, what=lambda store, load, explain, *at: store.name(*at[:2]))
    with tqdm(total=total, desc="occlusion", unit="map", unit_scale=True, disable=not progress) as bar:
        for maps in done:
            bar.update(maps)
    return len(todo)


def _check(store: MapStore, state: int, block: int) -> int:
    """Remove a block that is damaged; returns the number of blocks."""
    if not store.is_sound(state, block):
        store.discard(state, block)
    return 1


def _here(
    store: MapStore, load_model: Loader, explain: Explainer, todo: list[tuple[int, int]], blocks: Mapping[int, Tensor]
) -> Iterator[int]:
    """Compute blocks in this process; gives the number of maps of each one that is written.

    Meanwhile one thread reads the next network, and another one writes the last block. That is waited for before the
    next write: a kill costs the block at hand and at most one that is done.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        by_state = [(state, list(chunks)) for state, chunks in groupby(todo, key=itemgetter(0))]
        models = _ahead(reader, load_model, (store.states[state] for state, _ in by_state))
        explained = (
            (store, *chunk, explain(model, blocks[chunk[1]]))
            for (_, chunks), model in zip(by_state, models, strict=True)
            for chunk in chunks
        )
        yield from _ahead(writer, _write, explained)


def _ahead(pool: Executor, function: Callable, items: Iterable[tuple]) -> Iterator:
    """Call ``function(*item)`` for every item in order, in the pool; an item is asked for while one is at work."""
    coming = None
    for item in items:
        done = [coming.result()] if coming else []
        coming = pool.submit(function, *item)
        yield from done
    if coming:
        yield coming.result()


def _compute(store: MapStore, load_model: Loader, explain: Explainer, state: int, block: int, images: Tensor) -> int:
    """Compute one block and write it, on a worker; returns the number of maps."""
    return _write(store, state, block, explain(load_model(*store.states[state]), images))


def _explain(normalise: Callable | None, settings: Mapping, model: nn.Module, images: Tensor) -> np.ndarray:
    return occluded_logits(model, images if normalise is None else normalise(images), **settings).numpy()


def _write(store: MapStore, state: int, block: int, logits: np.ndarray) -> int:
    store.write(state, block, logits)
    return len(logits) * logits.shape[-1]
