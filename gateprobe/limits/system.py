"""Limits of memory that the operating system sets."""

from __future__ import annotations

from pathlib import Path

from gateprobe.errors import InputError

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

_POLARS = 3 << 29
"""Bytes of address space that Polars takes for its threads and its allocator; with less it ends the program."""
_V8 = 65 << 30
"""Bytes of address space that V8 reserves, which draws pictures; it takes hardly any of them."""


def free_address_space() -> int | None:
    """Return how many bytes of address space may still be taken; ``None`` without a limit."""
    if resource is None:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux
        pages = 0
    return limit - pages * resource.getpagesize()


def require_room_for_tables() -> None:
    """Look whether Polars can be loaded, which in too little address space aborts and says nothing useful.

    Raises:
        InputError: The limit (``ulimit -v``) is too low.
    """
    _require(_POLARS, "tables", "use .npy, .npz and .h5 files")


def require_room_for_drawing() -> None:
    """Look whether V8 can be started, which in too little address space aborts with a dump of its own.

    Raises:
        InputError: The limit (``ulimit -v``) is too low.
    """
    _require(_V8, "drawing", "write .html, which the browser draws")


def _require(size: int, purpose: str, instead: str) -> None:
    free = free_address_space()
    if free is not None and free < size:
        found = f"{free >> 20} MiB of address space are left, and {size >> 20} are needed"
        remedy = f"raise the limit (ulimit -v), or {instead}"
        raise InputError(f"not enough memory for {purpose}: {found}", remedy=remedy)
