"""A crash of the HDF5 library ends a fork, not the program."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from readers.build import h5

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.readers import crash_guard, read

SAMPLE = Path(__file__).parents[2] / "sample_models/keras2.h5"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are safe on Linux only")


def try_in_fork(tmp_path, action):
    path = tmp_path / "x"
    path.write_bytes(b"0123456789" * 10_000)
    with path.open("rb") as stream:
        assert stream.read(2) == b"01"
        try:
            crash_guard.try_in_fork(lambda: action(stream), stream, 100, 1 << 32)
        finally:
            assert stream.read(3) == b"234"
            stream.seek(99_990)
            assert stream.read(2) == b"01"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE])
def test_a_crash_is_an_error(tmp_path, number, capfd):
    with pytest.raises(ReadError, match=rf"crashes the HDF5 library \({number.name}\)"):
        try_in_fork(tmp_path, lambda stream: os.kill(os.getpid(), number))
    assert capfd.readouterr() == ("", "")


def test_handlers_of_the_program_do_not_hide_a_crash(tmp_path):
    before = signal.signal(signal.SIGSEGV, lambda *_: os._exit(0))
    try:
        with pytest.raises(ReadError, match="SIGSEGV"):
            try_in_fork(tmp_path, lambda stream: os.kill(os.getpid(), signal.SIGSEGV))
    finally:
        signal.signal(signal.SIGSEGV, before)


def test_a_reading_without_end_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(crash_guard, "SECONDS", 0)  # one second of processor time is then the hard limit

    def forever(stream):
        while True:
            pass

    with pytest.raises(UnsafeFile, match="does not end"):
        try_in_fork(tmp_path, forever)


@pytest.mark.parametrize("how", ["in Python", "in the library"])
def test_a_reading_that_takes_too_much_memory_is_an_error(tmp_path, how):
    def action(stream):
        if how == "in Python":
            return bytes(2 << 30)
        raise OSError("memory allocation failed for chunk")

    with pytest.raises(UnsafeFile, match="more memory than files of its size need"):
        try_in_fork(tmp_path, action)


@pytest.mark.parametrize("fault", [None, ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_other_ends_of_the_fork_mean_nothing(tmp_path, fault, capfd):
    def action(stream):
        stream.seek(50_000)
        stream.read()
        os.write(2, b"loud")
        if fault is not None:
            raise fault

    try_in_fork(tmp_path, action)
    assert capfd.readouterr() == ("", "")


def test_without_processes_the_file_is_read_all_the_same(tmp_path, monkeypatch):
    def refused():
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refused)
    assert read(h5(tmp_path / "model.h5")).origin.container == "hdf5"


@pytest.mark.parametrize("how", ["appended", "cut", "touched"])
def test_a_file_changed_while_it_is_read_is_refused(tmp_path, monkeypatch, how):
    from gateprobe import readers

    path = h5(tmp_path / "model.h5")
    before, program = readers._found, os.getpid()

    def found(*arguments):
        answer = before(*arguments)
        if os.getpid() != program:
            return answer
        if how == "touched":
            os.utime(path, ns=(time.time_ns(), time.time_ns() + 1))
        else:
            os.truncate(path, path.stat().st_size + (100 if how == "appended" else -100))
        return answer

    monkeypatch.setattr(readers, "_found", found)
    with pytest.raises(ReadError, match=r"model\.h5: was changed while it was read"):
        read(path)


def test_no_process_is_left(tmp_path):
    before = _children()
    read(h5(tmp_path / "model.h5"))
    assert _children() == before


def _children():
    """Return the processes that this one has started and not yet waited for; other tests may have left some."""
    return {number for task in Path("/proc/self/task").iterdir() for number in (task / "children").read_text().split()}


def test_an_interruption_during_the_fork_is_not_lost(tmp_path, monkeypatch):
    fork = os.fork

    def interrupted():
        with suppress(KeyboardInterrupt):  # as Python does in the hooks of a fork, but for the message
            signal.raise_signal(signal.SIGINT)
        return fork()

    monkeypatch.setattr(os, "fork", interrupted)
    seen = tmp_path / "read"
    with (tmp_path / "x").open("w+b") as stream, pytest.raises(KeyboardInterrupt):
        crash_guard.try_in_fork(seen.touch, stream, 100, 1 << 32)
    for _ in range(500):  # the fork ends as ever: only the program is interrupted
        if seen.exists():
            break
        time.sleep(0.02)
    assert seen.exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_limit_that_is_no_number_never_leaves_a_second_program(monkeypatch):
    def fork():
        raise AssertionError("what fails in the fork goes on there as the program")

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(TypeError):
        read(SAMPLE, max_bytes="4G")
