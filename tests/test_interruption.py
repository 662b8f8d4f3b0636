"""An interruption at any point of what threads hand each other leaves none of them waiting for ever.

The locks of Python's own queues, futures and conditions may stay locked by a thread that was interrupted.
"""

import sys
import threading

import pytest
from traces import lstm_chunk

from gateprobe.replay.threads import in_order
from gateprobe.writers.columnar import begin
from gateprobe.writers.table import TableMaker
from gateprobe.writers.target import open_target

OURS = ("gateprobe/replay/threads.py", "gateprobe/writers/columnar.py")
LOCKS = ("Condition.", "Semaphore.", "Queue.", "Future.", "ThreadPoolExecutor.")
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def takes_locks(frame):
    """Tell whether this is what may leave something locked, but for the start of a thread, which Python guards."""
    above = set()
    while frame is not None:
        above.add(frame.f_code.co_qualname)
        frame = frame.f_back
    return "Thread.start" not in above and any(name.startswith(LOCKS) for name in above)


def interrupted(number, act):
    """Do something, and raise KeyboardInterrupt at its n-th instruction; tell whether it had that many."""
    left = number

    def trace(frame, event, argument):
        nonlocal left
        if not (frame.f_code.co_filename.endswith(OURS) or takes_locks(frame)):
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if left == 0:
            left = -1
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def number_of_instructions(attempt):
    """Try every other instruction, each in a thread that must end."""
    there, number = [True], 1
    while there[-1]:
        thread = threading.Thread(target=lambda n=number: there.append(attempt(n)), daemon=True)
        before = len(there)
        thread.start()
        thread.join(30)
        assert len(there) > before, f"waits for ever after an interruption at instruction {number}"
        number += 2
    return number


def test_results_of_threads():
    def attempt(number):
        return interrupted(number, lambda: list(in_order((lambda: 1 for _ in range(5)), 2, threading.Event())))

    assert number_of_instructions(attempt) > 100


def test_tables_on_their_way_to_a_thread(tmp_path):
    def consume(frames, schema, file):
        for _ in frames:
            file.write(b"a table")

    def attempt(number):
        with open_target(str(tmp_path / "x"), force=True) as target:
            sink = begin(target, TableMaker("tidy"), consume)
            there = interrupted(number, lambda: [sink.add(lstm_chunk()), sink.add(lstm_chunk()), sink.finish()])
            sink.close()
        return there

    assert number_of_instructions(attempt) > 100
