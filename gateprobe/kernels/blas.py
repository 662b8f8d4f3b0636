"""What is known about the BLAS below NumPy, and matrix products cut into the pieces that it multiplies fastest."""

from __future__ import annotations

import os
from functools import cache

import numpy as np

from gateprobe.graph import Array

SMALL = 1_000_000
"""Multiplications up to which OpenBLAS takes its kernel for small matrices, which copies nothing beforehand
(``kernel/x86_64/sgemm_small_kernel_permit_skylakex.c``)."""

_ROWS = 32
"""Rows of a product for which `pack` makes its panels narrow enough."""


def pack(matrix: Array, gates: int) -> Array:
    """Cut the columns of a matrix into panels.

    Args:
        matrix: ``(rows, gates * units)``.
        gates: How many stand side by side.

    Returns:
        ``(gates, pieces, rows, units / pieces)``, contiguous.
    """
    rows, columns = matrix.shape
    pieces = _pieces(columns // gates, rows)
    return np.ascontiguousarray(matrix.reshape(rows, gates, pieces, -1).transpose(1, 2, 0, 3))


class Product:
    """``left @ matrix`` again and again; ``left`` is memory that others fill.

    Args:
        left: ``(samples, rows)``.
        panels: From `pack`.
    """

    __slots__ = ("_left", "_out", "_panels", "_value")

    def __init__(self, left: Array, panels: Array) -> None:
        samples, rows = left.shape
        gates, pieces, _, columns = panels.shape
        height = _height(samples, rows * columns)
        self._left = left.reshape(samples // height, height, rows)
        self._panels = panels[:, :, np.newaxis]
        self._value = np.empty((gates, samples, pieces * columns), left.dtype)
        self._out = self._value.reshape(gates, samples // height, height, pieces, columns).transpose(0, 3, 1, 2, 4)

    def __call__(self) -> Array:
        """Return the product, ``(gates, samples, units)``, in memory that the next call overwrites."""
        np.matmul(self._left, self._panels, self._out)
        return self._value


def _pieces(units: int, rows: int) -> int:
    """Return into how many panels to cut the columns of a gate."""
    if not _small_is_fast():
        return 1
    fitting = (pieces for pieces in range(1, units // 16 + 1) if units % pieces == 0)
    return next((pieces for pieces in fitting if _ROWS * rows * (units // pieces) <= SMALL), 1)


def _height(samples: int, panel: int) -> int:
    """Return how many samples to multiply at once with a panel of so many numbers."""
    if not _small_is_fast():
        return samples
    fitting = (height for height in range(samples, 7, -1) if samples % height == 0 and height * panel <= SMALL)
    return next(fitting, samples)


@cache
def _small_is_fast() -> bool:
    """Whether small products are the faster ones: with OpenBLAS on AVX-512, which runs them on one thread only."""
    config = np.show_config(mode="dicts")
    assert config is not None
    blas = config.get("Build Dependencies", {}).get("blas", {}).get("name", "")
    found = config.get("SIMD Extensions", {}).get("found", ())
    return "openblas" in blas and not {"AVX512_SKX", "X86_V4"}.isdisjoint(found) and threads() == 1


@cache
def threads() -> int:
    """Return on how many threads the BLAS runs, as far as the environment tells."""
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if os.environ.get(name, "").isdecimal() and int(os.environ[name]):
            return int(os.environ[name])
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def arithmetic() -> str:
    """Return what decides how sums are rounded on this machine."""
    config = np.show_config(mode="dicts")
    assert config is not None
    blas = config.get("Build Dependencies", {}).get("blas", {})
    found = config.get("SIMD Extensions", {}).get("found", ())
    widest = found[-1] if found else "baseline"
    return f"{blas.get('name')} {blas.get('version')}, {widest}, BLAS threads: {threads()}"
