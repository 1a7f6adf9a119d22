"""Where the work is done: in this process, by workers on this machine, or on any Dask cluster.

A unit of work is one network to train, or one block of images to explain with one network. What it computes is written
to the run folder, which every worker must see under the same path; so a unit that is lost with its worker is done again
by another one, and a worker that joins late finds work.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from distributed import Client, Future, WorkerPlugin

CONNECT_SECONDS = 20
IN_FLIGHT = 1000
AT_A_TIME = 16  # threads, at most: a piece of work that compares the maps of two states takes some hundred MB
LOOK_SECONDS = 5
KILLS = 20  # of workers on this machine at the same piece of work, before it is given up
PRELOADED = ["distributed", "kd_lib.study.training", "kd_lib.maps.fill", "torchvision"]  # what workers import


def check_executor(executor: str) -> str:
    """Return an executor, once it is known to be one of those that `connect` takes; else a ValueError."""
    if not re.fullmatch(r"|local:[1-9]\d*|(tcp|tls|ws|wss|ucx)://.+", executor):
        raise ValueError(
            f"executor {executor!r}: expected '' (this process), 'local:N' (N worker processes) or a scheduler's "
            "address, such as 'tcp://node7:8786'"
        )
    return executor


@contextmanager
def connect(executor: "str | Client") -> Iterator["Client | None"]:
    """Find the workers, and let them go afterwards.

    Parameters
    ----------
    executor : str or distributed.Client
        '' for this process; 'local:N' for N worker processes on this machine, which share its cores and take one of
        its GPUs each, in turn; or the address of a Dask scheduler, such as 'tcp://node7:8786', whose workers have one
        thread each (``dask worker --nthreads 1``) and see one GPU each (``CUDA_VISIBLE_DEVICES``).
        A client is given back, and not let go.

    Yields
    ------
    distributed.Client or None
        None for this process.

    Raises
    ------
    ValueError
        If the executor is none of the three, or workers have several threads, which would share one random generator.
    OSError
        If no scheduler answers at the address.
    """
    if not isinstance(executor, str):
        yield executor
        return
    if not check_executor(executor):
        yield None
        return
    if executor.startswith("local:"):
        with local_workers(int(executor.removeprefix("local:"))) as client:
            yield client
        return
    from distributed import Client  # takes a second, and most runs do without

    try:
        client = Client(executor, timeout=CONNECT_SECONDS)
    except OSError as error:
        raise OSError(f"no Dask scheduler answers at {executor} ({error}): start one with `dask scheduler`") from None
    with client:
        if busy := [address for address, threads in client.nthreads().items() if threads > 1]:
            raise ValueError(f"worker {busy[0]} has several threads: start workers with `dask worker --nthreads 1`")
        yield client


@contextmanager
def local_workers(count: int, *, threads: int | None = None) -> Iterator["Client"]:
    """Start worker processes on this machine, with one of its GPUs to each in turn, and stop them afterwards.

    Parameters
    ----------
    count : int
    threads : int, optional
        Of PyTorch in each worker; by default the workers share the machine's cores.

    Yields
    ------
    distributed.Client
    """
    import dask
    from distributed import Client, LocalCluster
    from distributed.utils import get_mp_context

    threads = threads or max(1, (os.cpu_count() or 1) // count)
    env = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    quick = {
        # Dask's profiler looks at what runs a hundred times a second, and waits for Python's lock each time.
        "distributed.worker.profile.enabled": False,
        # Dask has freed memory given back to the system at once, which zeroes it again for the next tensor.
        "distributed.nanny.pre-spawn-environ": env | {"MALLOC_MMAP_MAX_": 0, "MALLOC_TRIM_THRESHOLD_": 2**32},
        # A worker may die at any time. It is not the fault of what it was at, unless that happens again and again.
        "distributed.scheduler.allowed-failures": KILLS,
        # Workers are forks of one process that has imported everything: they start at once and share its memory.
        "distributed.worker.multiprocessing-method": "forkserver",
    }
    options = {"n_workers": count, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "env": env}
    with dask.config.set(quick):
        get_mp_context().set_forkserver_preload(PRELOADED)
        with LocalCluster(**options) as cluster, Client(cluster) as client:
            client.register_plugin(_settled(threads, _gpus()))
            yield client


def _gpus() -> list[str]:
    """Names of the GPUs that this process sees, as CUDA_VISIBLE_DEVICES has them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(number) for number in range(torch.cuda.device_count())]
    return [name.strip() for name in given.split(",") if name.strip()]


def _settled(threads: int, gpus: list[str]) -> "WorkerPlugin":
    """Let each worker have its threads and see one GPU, by its number; also one that takes the place of another."""
    from distributed import WorkerPlugin

    class Settled(WorkerPlugin):
        def setup(self, worker):
            torch.set_num_threads(threads)  # those of the environment are the ones of the process that it is a fork of
            if gpus:
                os.environ["CUDA_VISIBLE_DEVICES"] = gpus[worker.name % len(gpus)]

    return Settled()


def hold(client: "Client", value: Any) -> "Future":
    """Put a value where tasks find it, even after the worker that held it has died."""
    return client.submit(_same, value, pure=False)  # a task is done again, scattered data would be lost


def _same(value: Any) -> Any:
    return value


@contextmanager
def _survived(what: Callable[..., str], *task) -> Iterator[None]:
    """Say what was done, ``what(*task)``, and what to do, if its workers were killed again and again."""
    from distributed import KilledWorker

    try:
        yield
    except KilledWorker as error:
        killed = f"{error.allowed_failures + 1} workers were killed at it, the last one {error.last_worker.address}"
        raise RuntimeError(
            f"{what(*task)}: {killed}; most often memory ran out: have fewer workers at a time on a machine, or give "
            "them more, and run again, which goes on from what is stored"
        ) from None


def completed(
    client: "Client | None", function: Callable, tasks: Iterable[tuple], *, what: Callable[..., str] = "{}".format
) -> Iterator[Any]:
    """Call ``function(*task)`` for every task, here or on the workers, and give the results as they come.

    An error in a task is raised here, and what is not begun then is cancelled. A task whose worker dies is done again;
    a RuntimeError says, by ``what(*task)``, of which one workers died too often.
    The scheduler is told of `IN_FLIGHT` tasks at a time, so that there may be any number.
    """
    if client is None:
        yield from (function(*task) for task in tasks)
        return
    from distributed import as_completed

    coming = ((client.submit(function, *task, pure=False), task) for task in tasks)
    begun = dict(islice(coming, IN_FLIGHT))
    running = as_completed(list(begun))
    try:
        for future in running:
            with _survived(what, *begun[future]):
                result = future.result()  # fetched here, where an error that fetching meets is raised
            del begun[future]
            for another, task in islice(coming, 1):
                begun[another] = task
                running.add(another)
            yield result
    finally:
        client.cancel(list(begun))


def each(
    client: "Client | None",
    function: Callable,
    items: Sequence[str],
    *arguments,
    after: Mapping[str, Sequence[str]] | None = None,
    **options,
) -> list:
    """Call ``function(item, *arguments, **options)`` for every item, here or on the workers; results in order.

    Parameters
    ----------
    client : distributed.Client, optional
        Whose workers do one item each at a time, whichever is first of those that need not wait; None does all here.
    function : callable
    items : sequence of str
        In an order in which they can be done one by one.
    *arguments, **options
        Of every call.
    after : mapping, optional
        From an item to those that must be done before it.

    Returns
    -------
    list

    Raises
    ------
    RuntimeError
        If the workers of an item were killed too often; says which.
    """
    if client is None:
        return [function(item, *arguments, **options) for item in items]
    from distributed import wait

    after, running, results = after or {}, {}, {}
    try:
        while len(results) < len(items):
            begun = results.keys() | running.keys()
            ready = [item for item in items if item not in begun and results.keys() >= set(after.get(item, ()))]
            free = max(1, len(client.nthreads())) - len(running)
            for item in ready[: max(0, free)]:
                running[item] = client.submit(function, item, *arguments, pure=False, **options)
            with suppress(TimeoutError):  # a worker may have come
                wait(list(running.values()), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
            for item in [item for item, future in running.items() if future.done()]:
                with _survived("{} {!r}".format, function.__name__, item):
                    results[item] = running[item].result()
                del running[item]
    finally:
        client.cancel(list(running.values()))
    return [results[item] for item in items]


def say(line: str) -> None:
    """Print a line where it is read: on a worker's client, else here."""
    if "distributed" in sys.modules:  # else this is no worker
        import distributed

        with suppress(ValueError):  # this is no worker
            distributed.get_worker()
            with redirect_stdout(None):  # the worker's own output may end in the same notebook
                distributed.print(line, flush=True)
            return
    print(line, flush=True)


def in_threads(work: Callable, *items: Iterable) -> list[Any]:
    """Do as `map` does with `items`, as many at a time as there are cores; what `work` returned, in order.

    PyTorch's operations in `work` run in one thread each: together they have the cores.
    """
    threads = torch.get_num_threads()
    at_a_time = min(AT_A_TIME, os.cpu_count() or 1)
    try:
        with ThreadPoolExecutor(at_a_time, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, *items))
    finally:
        torch.set_num_threads(threads)  # a thread's number is also that of threads to come
