"""Reads a file once in a forked process before it is read in this one, because the HDF5 library can crash.

Fuzzing found files whose damaged chunk index makes libhdf5 read behind its memory (a segmentation fault in
``H5Dread``, HDF5 1.14.6 and newer). Such a fault cannot be caught, only survived in another process: the fork dies in
place of the program, and the file is refused. So is one for which the library allocates what a damaged length asks for.
It costs some milliseconds (``docs/reliability.md``), while a new interpreter would cost some hundred. Only Linux forks
safely in a program with threads; elsewhere nothing is tried out.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.limits.expansion import MAX_EXPANSION

SECONDS = 60
"""Processor time that the reading of any file may take."""
BYTES_PER_SECOND = 1 << 20
"""Large files get a second more for each so many bytes."""
MEMORY = 512 << 20
"""Memory in bytes that the reading of any file may take."""
COPIES = 3
"""How often the arrays of a large file may lie in memory while it is read."""
TIMES = COPIES * MAX_EXPANSION
"""Large files get no more than so many times their size."""

_NAMES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL")
_CRASHES = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))  # Windows has not all of them
_NO_MEMORY = 3
_ABOUT_MEMORY = re.compile(r"memory|alloc", re.IGNORECASE)
_REMEDY = "save the model again with Keras"


def try_in_fork(read: Callable[[], object], stream: BinaryIO, size: int, limit: int) -> None:
    """Run a reading in a forked process and forget what it read.

    Args:
        read: Reads the file. Errors are of no interest here: they will come again.
        stream: The file, whose position is kept.
        size: Of the file, in bytes.
        limit: Bytes of arrays that may be read.

    Raises:
        ReadError: The reading crashed.
        UnsafeFile: It did not end, or took more memory than files of this size need.
    """
    if sys.platform != "linux":
        return
    seconds, memory = SECONDS + size // BYTES_PER_SECOND, MEMORY + min(TIMES * size, COPIES * limit)
    descriptor = stream.fileno()
    position = os.lseek(descriptor, 0, os.SEEK_CUR)  # shared by both processes
    try:
        child = _fork()
    except OSError:  # no more processes allowed
        return
    if child == 0:
        _perform(read, seconds, memory)  # nothing may fail in front of it: the fork would go on as the program
    _, status = os.waitpid(child, 0)
    os.lseek(descriptor, position, os.SEEK_SET)
    _judge(status)


def _fork() -> int:
    with _held_signals(), warnings.catch_warnings():
        # of Python 3.12, about threads: the fork uses no lock that they could hold
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@contextmanager
def _held_signals() -> Iterator[None]:
    """Let interruptions wait: what a handler raises while Python runs the hooks of a fork is printed and forgotten."""
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main thread alone
        yield
        return
    came, program = list[int](), os.getpid()
    held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in held.items() if handler is not None}  # None is not Python's own
    for number in handlers:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if os.getpid() == program:
            for waiting in came:
                signal.raise_signal(waiting)


def _perform(read: Callable[[], object], seconds: int, memory: int) -> None:
    """Be the forked process: read, silently, and end without touching what belongs to the program."""
    status = 0
    try:
        gc.disable()  # it would touch, and so copy, every page of the program
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        for number in (signal.SIGTERM, *_CRASHES):  # handlers of the program might turn a crash into an exit
            signal.signal(number, signal.SIG_DFL)
        _limit(seconds, memory)
        read()
    except Exception as error:  # noqa: BLE001 -- only that memory ran out is of interest
        status = _NO_MEMORY if isinstance(error, MemoryError) or _ABOUT_MEMORY.search(str(error)) else 0
    finally:
        os._exit(status)


def _limit(seconds: int, memory: int) -> None:
    import resource  # noqa: PLC0415 -- Linux has it, Windows has not

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + memory
    if soft == resource.RLIM_INFINITY or wanted < soft:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def _judge(status: int) -> None:
    """Turn the signal that ended the process into an error."""
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _NO_MEMORY:
        raise UnsafeFile("reading it takes more memory than files of its size need", remedy=_REMEDY)
    if not os.WIFSIGNALED(status):
        return
    number = os.WTERMSIG(status)
    if number in (signal.SIGXCPU, signal.SIGKILL):
        raise UnsafeFile("reading it does not end, or takes more memory than there is", remedy=_REMEDY)
    if number in _CRASHES:
        name = signal.Signals(number).name
        raise ReadError(f"is damaged in a way that crashes the HDF5 library ({name})", remedy=_REMEDY)
