"""What the benchmarks share: one core, a description of the machine, and tables in Markdown."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
QUIET = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def pin(cpu: int) -> None:
    """Keep all threads of this process and its children on one core; before anything else is imported."""
    os.sched_setaffinity(0, {cpu})
    os.environ.update(dict.fromkeys(THREADS, "1") | QUIET | {"KERAS_BACKEND": "tensorflow"})
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second run finds compiled modules
    warnings.simplefilter("ignore")


def describe(*packages: str, cpu_time: bool) -> str:
    info = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    fields = dict(line.replace("\t", "").split(": ", 1) for line in info if ": " in line)
    names = [line for line in info if line.startswith("model name")]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    cpu = f"{fields['model name']} (family {fields['cpu family']}, model {fields['model']})"
    system = f"Linux {platform.release().split('-')[0]}; Python {platform.python_version()}"
    clock = f"{'CPU time' if cpu_time else 'wall time'} at a load of {os.getloadavg()[0]:.1f}"
    return f"{cpu}, one core of {len(names)}; {system}; {versions}; {clock}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column holds names and the others numbers."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (head, rule, *rows):
        numbers = (value.rjust(width) for value, width in zip(row[1:], widths[1:], strict=True))
        lines.append(f"| {' | '.join([row[0].ljust(widths[0]), *numbers])} |")
    return "\n".join(lines)


def publish(section: str, texts: Sequence[str], *, page: bool) -> None:
    """Print results; with ``page``, also put them into their section of docs/performance.md."""
    text = "\n\n".join(texts)
    print(text)
    if page:
        before, mark, rest = PAGE.read_text("utf-8").partition(f"<!-- {section}: begin -->\n")
        _, end, after = rest.partition(f"<!-- {section}: end -->")
        assert mark
        assert end
        PAGE.write_text(f"{before}{mark}\n{text}\n\n{end}{after}", "utf-8")
