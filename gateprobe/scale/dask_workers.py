"""Processes that compute blocks: workers of Dask, on this machine or on many.

Only our own function and plain values go through the scheduler, never data. It gives the work of a worker that dies to
another one, which is harmless: a block appears whole or not at all, and its numbers are the same on every worker.
"""

from __future__ import annotations

import gc
import logging
import signal
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any, TypeAlias

from gateprobe.errors import GateprobeError, GateprobeWarning, InputError, MissingExtra
from gateprobe.layers.recurrent.kernels.blas import arithmetic
from gateprobe.opened_model import Tracing
from gateprobe.scale.dataset import Block
from gateprobe.scale.task import SAME_VERSION, Job, Sources, Task, TaskFault, anywhere, perform

_WINDOW = 1000
"""Tasks that the scheduler knows of at a time: enough for hundreds of workers, and a few megabytes of its memory."""
CONNECT = 10
"""Seconds to wait for a scheduler."""
PATIENCE = 60
"""Seconds to wait for its first worker."""
_ALONE = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
"""What keeps the workers of one machine from taking each other's cores."""


Perform: TypeAlias = Callable[[Iterable[Block], Tracing, Job], Iterator[Block]]
"""Has blocks computed and yields them as they are done. Raises `GateprobeError` when a worker says what is wrong."""


@dataclass(frozen=True, slots=True)
class DaskWorkers:
    """Processes of Dask that compute blocks."""

    sources: Sources
    """What they have to read."""
    scheduler: str | None = None
    """Address of a running one, whose workers may be anywhere."""
    workers: int = 1
    """Without a scheduler, the number of processes to start on this machine."""

    @contextmanager
    def at_work(self) -> Iterator[Perform]:
        """Begin to work together; yields what has blocks computed.

        Raises:
            InputError: The scheduler cannot be reached, or has no workers that can help.
            MissingExtra: Dask is not installed.
        """
        sources = self.sources.anywhere()

        def perform(blocks: Iterable[Block], tracing: Tracing, job: Job) -> Iterator[Block]:
            job = replace(job, destination=replace(job.destination, name=anywhere(job.destination.name)))
            tasks = (Task(job, sources, block, self._fingerprint(block, tracing)) for block in blocks)
            return _in_any_order(client, tasks)

        with self._client() as client:
            _check_workers(client)
            yield perform

    def _fingerprint(self, block: Block, tracing: Tracing) -> str | None:
        """Other machines may have other files by the same names."""
        if self.scheduler is None:
            return None
        return tracing.samples.fingerprint(tracing.numbers[block.start : block.stop])

    @contextmanager
    def _client(self) -> Iterator[Any]:
        try:
            from distributed import Client, LocalCluster  # noqa: PLC0415 - an import of half a second
        except ImportError:
            raise MissingExtra("dask.distributed, which runs workers,", "dask") from None
        for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters comes back as an error
        with ExitStack() as stack:
            try:
                with _undisturbed():
                    where = self.scheduler or stack.enter_context(LocalCluster(**_local(self.workers)))
                with _no_collection():
                    client = stack.enter_context(Client(where, timeout=CONNECT))
                client.wait_for_workers(1, timeout=PATIENCE)
            except ImportError:
                raise MissingExtra("cryptography, which keeps strangers from local workers,", "dask") from None
            except Exception as fault:  # noqa: BLE001 - what answers there may be no scheduler
                raise self._unreachable(fault) from None
            yield client

    def _unreachable(self, fault: Exception) -> InputError:
        expected = isinstance(fault, (OSError, ValueError, RuntimeError)) and str(fault)
        if self.scheduler is None:
            return InputError(f"cannot work with workers on this machine: {fault or type(fault).__name__}")
        reason = str(fault) if expected else f"it does not answer as a Dask scheduler does ({type(fault).__name__})"
        remedy = "look whether the scheduler runs and has workers"
        return InputError(f"cannot work with {self.scheduler}: {reason}", remedy=remedy)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect garbage now, and not while a client starts.

    A client that could not connect is garbage whose end waits for a lock that a starting client holds
    (``Client.__del__`` and ``LoopRunner.start`` of distributed 2026.8): in one thread that would never end.
    """
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach, nor their successors: we end them ourselves, quietly."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would otherwise unblock the signal where the first process is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _local(workers: int) -> dict[str, Any]:
    """Return how to start workers on this machine; only we can talk to them."""
    return {
        "n_workers": workers,
        "threads_per_worker": 1,
        "processes": True,
        "security": True,
        "dashboard_address": None,
        "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},  # where it says how it is, to us alone
        "silence_logs": logging.CRITICAL,
        "env": dict.fromkeys(_ALONE, "1"),
    }


def _check_workers(client: Any) -> None:
    """Look whether the workers do the same.

    Raises:
        InputError: One of them has another version of gateprobe.
    """
    here = version("gateprobe")
    for worker, there in client.run(version, "gateprobe", on_error="return").items():
        if there != here:
            found = f"gateprobe {there}" if isinstance(there, str) else "no gateprobe"
            raise InputError(f"the worker {worker} has {found}, and here is {here}", remedy=SAME_VERSION)

    ways = set(client.run(arithmetic).values())
    if len(ways) > 1:
        note = "the workers round differently, so that the last digits of their parts may differ"
        warnings.warn(f"{note}: {'; '.join(sorted(ways))}", GateprobeWarning, stacklevel=2)


def _in_any_order(client: Any, tasks: Iterable[Task]) -> Iterator[Block]:
    """Submit tasks, not too many at a time, and yield their blocks as they are done."""
    from distributed import KilledWorker, as_completed  # noqa: PLC0415
    from distributed.comm import CommClosedError  # noqa: PLC0415

    run, here, waiting = uuid.uuid4().hex, version("gateprobe"), iter(tasks)
    blocks: dict[Any, Block] = {}

    def submit(count: int) -> Iterator[Any]:
        for task in islice(waiting, count):
            future = client.submit(perform, task, here, key=f"gateprobe-{run}-{task.block.start}", pure=False)
            blocks[future] = task.block
            yield future

    try:
        queue = as_completed(submit(_WINDOW))
        for future in queue:
            if future.status != "finished":
                future.result()  # raises what went wrong
            yield blocks.pop(future)
            queue.update(submit(1))
    except TaskFault as fault:
        reason, file, place, remedy = fault.args
        raise GateprobeError(reason, file=file, place=place, remedy=remedy) from None
    except (CancelledError, CommClosedError):
        raise GateprobeError("the scheduler is gone", remedy="start the same command again: it goes on") from None
    except KilledWorker:
        reason = "workers died, one after the other, while they computed the same samples"
        raise GateprobeError(reason, remedy="give them more memory, or choose a smaller --block-size") from None
    finally:
        with suppress(CommClosedError):
            client.cancel(list(blocks))
