"""Work that waits for no other piece of it, done in threads: NumPy, PyTorch and zarr let others compute meanwhile."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

AT_A_TIME = 16  # pieces, at most; one that compares the maps of two states takes some hundred MB


def in_threads(work: Callable, *items: Iterable) -> list[Any]:
    """Do the same with each of several items, as many at a time as there are cores.

    Parameters
    ----------
    work : callable
        What to do with an item. PyTorch's operations in it run in one thread each: together they have the cores.
    *items : iterable
        Arguments of `work`, as of `map`.

    Returns
    -------
    list
        What `work` returned, in the order of the items.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(
            min(AT_A_TIME, os.cpu_count() or 1), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            return list(pool.map(work, *items))
    finally:
        torch.set_num_threads(threads)  # a thread's number is also that of threads to come
