"""Matrix products whose rows are rounded alike, whatever stands in the other rows and however many there are.

A BLAS takes other code for other numbers of rows, and for the rows at the edges of a block: its sums come out in
another order, and so with other last bits. What it does with a shape is therefore asked once, of the BLAS itself, and
rows are multiplied in tiles of those heights for which all rows come out alike. The BLAS holds one thread meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from gateprobe.graph import Array
from gateprobe.limits import room

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

SMALL = 1_000_000
"""Multiplications up to which OpenBLAS takes its kernel for small matrices, which copies nothing beforehand
(``kernel/x86_64/sgemm_small_kernel_permit_skylakex.c``)."""

_ROWS = 32
"""Rows of a tile in the products of each timestep; `pack` makes its panels narrow enough for them."""
_MOST_ROWS = 48
"""Rows of the tallest tile in them."""
_HEIGHTS = (512, 128, 32, 16, 8, 4, 2, 1)
_MIDDLE = 8
"""The height that the others must agree with: tall enough for a batch, and not too tall for one sample."""
_MARGIN = 8
"""Columns at either end of a block that OpenBLAS for AVX2 sums in another order than those between, in the first six of
twelve rows (``kernel/x86_64/sgemm_kernel_16x4_haswell.S``). Beside zeros, all twelve come out alike."""
_MARGIN_HEIGHTS = (48, 36, 24, 12, 4, 2, 1)
_MARGIN_MIDDLE = 12
_BLOCK = 240
"""Columns that make one block together with two margins."""
_TRIAL = 1 << 24
"""Multiplications of the largest tile that is tried, so that trying costs some milliseconds."""
_NUMBERS = 512
"""Sums that are compared, at least: another order gives the same one now and then."""
_OVERHEAD = 6
"""Rows whose multiplication takes as long as the begin of a tile."""
_ENOUGH = 32
"""Rows of one sample from which on it is multiplied by itself: one product of a shape that no other sample changes."""


def multiply(x: Array, matrix: Array, out: Array | None = None) -> Array:
    """Return ``x @ matrix`` for ``x`` of samples, whose numbers do not depend on each other.

    Args:
        x: ``(samples, ..., rows)``.
        matrix: ``(rows, columns)``.
        out: ``(samples, ..., columns)``, to be written.

    Returns:
        ``(samples, ..., columns)``.
    """
    shape = (*x.shape[:-1], matrix.shape[1])
    out = room.empty(shape, np.result_type(x, matrix)) if out is None else out
    x, matrix = np.ascontiguousarray(x, out.dtype), np.ascontiguousarray(matrix, out.dtype)
    if x.ndim == 3 and x.shape[1] >= _ENOUGH:
        np.matmul(x, matrix, out)
    elif x.ndim > 3:
        out[...] = multiply(x.reshape(len(x), -1, x.shape[-1]), matrix).reshape(shape)
    else:
        out[...] = _in_tiles(x.reshape(-1, x.shape[-1]), matrix).reshape(shape)
    return out


def _in_tiles(left: Array, matrix: Array) -> Array:
    """Multiply rows, tall tiles first; the last one is filled up with zeros."""
    (rows, columns), count = matrix.shape, len(left)
    out = np.empty((count, columns), left.dtype)
    known = heights(rows, columns, left.dtype.name)
    start = 0
    while start < count:
        height = _next_height(count - start, known)
        stop = start + max(1, (count - start) // height) * height
        if stop > count:
            tile = np.zeros((height, rows), left.dtype)
            tile[: count - start] = left[start:]
            out[start:] = (tile @ matrix)[: count - start]
        else:
            np.matmul(left[start:stop].reshape(-1, height, rows), matrix, out[start:stop].reshape(-1, height, columns))
        start = stop
    return out


def _next_height(count: int, known: Sequence[int]) -> int:
    """Return the height of the next tiles for so many rows: one that is filled to two thirds, or the next smaller."""
    return next((height for height in known if height * 2 <= count * 3), known[-1])


@cache
def heights(rows: int, columns: int, dtype: str) -> tuple[int, ...]:
    """Return the heights of tiles, tallest first, in which all rows are rounded in the same way by this BLAS.

    Args:
        rows: Of the matrix.
        columns: Of the matrix.
        dtype: Of both.
    """
    allowed = [height for height in _HEIGHTS if height <= _MIDDLE or height * rows * columns <= _TRIAL]
    return _alike(*_trial(rows, columns, dtype), allowed, _MIDDLE)


@cache
def _heights_within_margins(rows: int, columns: int, dtype: str) -> tuple[int, ...]:
    """Return the same for a matrix with zeros on either side."""
    vectors, matrix = _trial(rows, columns, dtype)
    return _alike(vectors, _with_margins(matrix, _MARGIN), _MARGIN_HEIGHTS, _MARGIN_MIDDLE)


def _alike(vectors: Array, matrix: Array, allowed: Sequence[int], middle: int) -> tuple[int, ...]:
    """Return the heights that agree with the middle one, or with the next lower one that agrees with itself."""
    with ONE_THREAD:
        tried = {height: _product_of_alike(vectors, height, matrix) for height in allowed}
    found = {height: product for height, product in tried.items() if product is not None}
    expected = next(product for height, product in found.items() if height <= middle)
    return tuple(height for height, product in found.items() if np.array_equal(product, expected))


def _with_margins(matrix: Array, margin: int) -> Array:
    return np.pad(matrix, [(0, 0)] * (matrix.ndim - 1) + [(margin, margin)])


def _trial(rows: int, columns: int, dtype: str) -> tuple[Array, Array]:
    """Return some vectors, and a matrix made of a few random numbers again and again: large ones are made quickly."""
    rng = np.random.default_rng(0)
    matrix = np.resize(rng.standard_normal(16_411).astype(dtype), (rows, columns))
    trials = max(3, -(-_NUMBERS // max(1, columns)))
    return rng.standard_normal((trials, 1, rows)).astype(dtype), matrix


def _product_of_alike(vectors: Array, height: int, matrix: Array) -> Array | None:
    """Multiply tiles whose rows are all the same; ``None`` unless the rows of the products are, too."""
    product = np.repeat(vectors, height, axis=1) @ matrix
    return product[:, 0] if (product == product[:, :1]).all() else None


@dataclass(frozen=True, slots=True, eq=False)
class Panels:
    """The columns of a matrix, cut so that a BLAS multiplies them fast."""

    values: Array
    """``(gates, pieces, rows, units / pieces)``, contiguous, and the margins."""
    margin: int
    """Columns of zeros on either side of each piece."""
    heights: tuple[int, ...]
    """Of the tiles that may be multiplied with a piece."""

    @property
    def columns(self) -> Array:
        """The same memory in the order of the matrix, ``(rows, gates, pieces, units / pieces)``."""
        return self.values[..., self.margin : self.values.shape[-1] - self.margin].transpose(2, 0, 1, 3)


def pack(matrix: Array, gates: int) -> Panels:
    """Cut the columns of a matrix into panels.

    Args:
        matrix: ``(rows, gates * units)``.
        gates: How many stand side by side.
    """
    panels = blank_panels(len(matrix), matrix.shape[1] // gates, gates, matrix.dtype)
    np.copyto(panels.columns, matrix.reshape(panels.columns.shape))
    return panels


def blank_panels(rows: int, units: int, gates: int, dtype: np.dtype[Any]) -> Panels:
    """Return the panels of a matrix ``(rows, gates * units)`` whose columns are still to be written."""
    pieces = _pieces(units, rows)
    known, margin = heights(rows, units // pieces, dtype.name), 0
    if max(known) < _ROWS:
        narrow = next(number for number in range(1, units + 1) if units % number == 0 and units // number <= _BLOCK)
        within = _heights_within_margins(rows, units // narrow, dtype.name)
        if max(within) >= _ROWS:
            pieces, known, margin = narrow, within, _MARGIN
    shape = (gates, pieces, rows, units // pieces + 2 * margin)
    return Panels((room.zeros if margin else room.empty)(shape, dtype), margin, known)


def memory(samples: int, rows: int, dtype: np.dtype[Any]) -> Array:
    """Return ones that a `Product` takes as its left side: some rows more than there are samples."""
    return np.ones((samples + _MOST_ROWS, rows), dtype)


class Product:
    """``left @ matrix`` again and again; ``left`` is memory that others fill.

    Args:
        left: ``(samples and more, rows)``, from `memory`, or some of its columns.
        panels: Of the matrix.
        samples: How many rows are wanted.
    """

    __slots__ = ("_inner", "_left", "_out", "_panels", "_value", "_wanted")

    def __init__(self, left: Array, panels: Panels, samples: int) -> None:
        gates, pieces, rows, columns = panels.values.shape
        height = _height(samples, panels.heights)
        tiles = -(-samples // height)
        self._left = left[: tiles * height].reshape(tiles, height, rows)
        self._panels = panels.values[:, :, np.newaxis]
        memory = np.empty((gates, tiles, height, pieces, columns), left.dtype)
        self._out = memory.transpose(0, 3, 1, 2, 4)
        flat = memory.reshape(gates, tiles * height, pieces, columns)[:, :samples]
        self._inner = flat[..., panels.margin : columns - panels.margin]
        whole = pieces == 1 or not panels.margin
        self._wanted = self._inner.reshape(gates, samples, -1)  # a copy, unless the pieces lie side by side
        self._value = None if whole else self._wanted.reshape(self._inner.shape)

    def __call__(self) -> Array:
        """Return the product, ``(gates, samples, units)``, in memory that the next call overwrites."""
        np.matmul(self._left, self._panels, self._out)
        if self._value is not None:
            np.copyto(self._value, self._inner)
        return self._wanted


def _pieces(units: int, rows: int) -> int:
    """Return into how many panels to cut the columns of a gate."""
    if not _small_is_fast():
        return 1
    fitting = (pieces for pieces in range(1, units // 16 + 1) if units % pieces == 0)
    return next((pieces for pieces in fitting if _ROWS * rows * (units // pieces) <= SMALL), 1)


def _height(samples: int, known: Sequence[int]) -> int:
    """Return the height of tiles for so many samples that costs least, with the rows that fill the last one up."""
    low = [height for height in known if height <= _MOST_ROWS]
    return min(low, key=lambda height: -(-samples // height) * (height + _OVERHEAD))


class _OneThread:
    """Holds the BLAS at one thread while any thread of the process is inside, and then puts it back.

    OpenBLAS has one number of threads for the whole process: the first one in and the last one out change it. MKL, and
    OpenBLAS with OpenMP, have one for each thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._shared: list[int] = []
        self._own = threading.local()

    def __enter__(self) -> None:
        depth = self._own.__dict__.setdefault("depth", 0)
        if depth == 0:
            with self._lock:
                if self._inside == 0:
                    self._shared = _exchange(_shared())
                self._inside += 1
            self._own.numbers = _exchange(_each_its_own())
        self._own.depth = depth + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own.depth -= 1
        if self._own.depth == 0:
            _exchange(_each_its_own(), self._own.numbers)
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    _exchange(_shared(), self._shared)


ONE_THREAD = _OneThread()
"""To be entered around every product: a BLAS with threads of its own waits for the slowest of them in each timestep."""


def _exchange(libraries: Sequence[Any], numbers: Sequence[int] | None = None) -> list[int]:
    """Set the numbers of threads of some libraries, to one without any, and return those before."""
    before = [library.num_threads for library in libraries]
    for library, wanted in zip(libraries, numbers or [1] * len(before), strict=True):
        # since threadpoolctl 3.7 only the thread that has set OpenBLAS first may set it, while it lives
        getattr(library, "_real_set_num_threads", library.set_num_threads)(wanted)
    return before


@cache
def _controller() -> ThreadpoolController:
    """Look once through the libraries of the process, which takes a few milliseconds; NumPy's are there by now."""
    from threadpoolctl import ThreadpoolController  # noqa: PLC0415 - `gateprobe --help` needs none

    return ThreadpoolController().select(user_api="blas")


@cache
def _shared() -> tuple[Any, ...]:
    """Return the libraries that have one number of threads for all."""
    return tuple(lib for lib in _controller().lib_controllers if lib not in _each_its_own())


@cache
def _each_its_own() -> tuple[Any, ...]:
    """Return the libraries in which each thread has a number of its own."""
    return tuple(
        library
        for library in _controller().lib_controllers
        if library.internal_api in ("mkl", "blis") or getattr(library, "threading_layer", "") == "openmp"
    )


@cache
def _libraries() -> tuple[str, ...]:
    """Return name, version and processor of the BLAS."""
    found = _controller().info()
    ours = [info for info in found if "numpy" in info["filepath"]] or found
    return tuple(f"{info['internal_api']} {info['version']} {info.get('architecture')}" for info in ours)


@cache
def _small_is_fast() -> bool:
    """Whether small products are the faster ones: with OpenBLAS where it uses AVX-512."""
    wide = ("SkylakeX", "Cooperlake", "SapphireRapids")
    return any(name.startswith("openblas") and name.endswith(wide) for name in _libraries())


def arithmetic() -> str:
    """Return what decides how sums are rounded on this machine."""
    config = np.show_config(mode="dicts")
    assert config is not None
    found = config.get("SIMD Extensions", {}).get("found", ())
    return ", ".join([*_libraries(), f"NumPy with {found[-1] if found else 'baseline'}"])
