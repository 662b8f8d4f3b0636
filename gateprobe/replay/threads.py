"""Work side by side: how many threads are of use, and results in the order of the work."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeAlias, TypeVar, cast

from gateprobe.errors import InputError

_Value = TypeVar("_Value")

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor that a container may use, and in how many; Linux, cgroup v2."""


def threads_of(wanted: int | None) -> int:
    """Return how many threads to use: as many as are wanted, or as there are cores for this process.

    Raises:
        InputError: It is no number.
    """
    if wanted is None:
        return cores()
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise InputError(f"{wanted!r} is no number of threads", remedy="choose one from 1 on")
    return wanted


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        allowed = os.process_cpu_count()
    else:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, _quota() or allowed or 1))


def _quota() -> int | None:
    """Return the number of whole cores that a container may use, at least one; ``None`` where there is no limit."""
    try:
        quota, period = _QUOTA.read_text("ascii").split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError, ArithmeticError):
        return None


def in_order(jobs: Iterable[Callable[[], _Value]], threads: int, stop: Event) -> Iterator[_Value]:
    """Yield what jobs return, in their order; one more than there are threads is begun or waits to be taken.

    Args:
        jobs: Drawn one by one in the thread that asks for results.
        threads: With one, the jobs run where the results are asked for.
        stop: Is set when no more results will be taken, so that the jobs that still run can end early.
    """
    if threads == 1:
        for job in jobs:
            yield job()
        return
    work: SimpleQueue[tuple[Callable[[], _Value], _Place[_Value]] | None] = SimpleQueue()
    workers = [Thread(target=_work, args=(work,), name=f"gateprobe-{n}", daemon=True) for n in range(threads)]
    waiting: deque[_Place[_Value]] = deque()
    try:
        for worker in workers:
            worker.start()
        for job in jobs:
            waiting.append(SimpleQueue())
            work.put((job, waiting[-1]))
            if len(waiting) > threads:
                yield _taken(waiting.popleft())
        while waiting:
            yield _taken(waiting.popleft())
    finally:
        stop.set()
        with suppress(Empty):
            while True:
                work.get_nowait()
        for _ in workers:
            work.put(None)
        for worker in workers:
            if worker.is_alive():
                worker.join()


_Place: TypeAlias = "SimpleQueue[tuple[_Value | None, BaseException | None]]"
"""Where one result is put, or what went wrong. Simple queues have no lock that an interruption could leave locked for
ever, as those of ``concurrent.futures`` and of ``queue.Queue`` have."""


def _work(work: SimpleQueue[tuple[Callable[[], _Value], _Place[_Value]] | None]) -> None:
    while (item := work.get()) is not None:
        job, place = item
        try:
            place.put((job(), None))
        except BaseException as fault:  # noqa: BLE001 - raised again by the thread that takes the result
            place.put((None, fault))
        del item, job, place


def _taken(place: _Place[_Value]) -> _Value:
    value, fault = place.get()
    if fault is not None:
        raise fault
    return cast("_Value", value)
