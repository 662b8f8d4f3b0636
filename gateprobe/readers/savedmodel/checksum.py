"""CRC-32C (Castagnoli), as TensorFlow protects its checkpoints with it.

Source: RFC 3720, appendix B.4; the mask: ``tensorflow/tsl/lib/hash/crc32c.h`` 2.21. Byte by byte in Python takes a
second for each 5 MB; here many lanes run side by side in NumPy, and their sums are put together as zlib's
``crc32_combine`` does it: appending zeros to a message is a linear function of its sum.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from gateprobe.graph import Array

_POLYNOMIAL = 0x82F63B78
_DELTA = 0xA282EAD8
_LANES = 1 << 13
_COLUMNS = 64
"""Words of each lane that are put into the order of use at a time."""


def masked_crc32c(data: bytes | memoryview, *more: bytes | memoryview) -> int:
    """Return the masked checksum that stands in a checkpoint, of one or several pieces of bytes."""
    total = 0
    for piece in (data, *more):
        total = _append(total, crc32c(piece), len(piece))
    return ((total >> 15 | total << 17) + _DELTA) & 0xFFFFFFFF


def crc32c(data: bytes | memoryview) -> int:
    """Return the checksum of bytes."""
    values = np.frombuffer(data, np.uint8)
    words = len(values) // (2 * _LANES)
    if words == 0:
        return _plain(values)
    left = values[2 * _LANES * words :]
    body = values[: len(values) - len(left)].view("<u2").reshape(_LANES, words)
    sums = np.full(_LANES, 0xFFFFFFFF, np.uint32)
    table = _table_of_words()
    for start in range(0, words, _COLUMNS):
        for column in np.ascontiguousarray(body[:, start : start + _COLUMNS].T):
            sums = table[(sums ^ column) & 0xFFFF] ^ (sums >> np.uint32(16))
    sums ^= np.uint32(0xFFFFFFFF)
    length = 2 * words
    while len(sums) > 1:  # neighbours become one message of twice the length
        sums = _shifted(sums[0::2], length) ^ sums[1::2]
        length *= 2
    return _append(int(sums[0]), _plain(left), len(left))


def _plain(values: Array) -> int:
    table = _table().tolist()
    total = 0xFFFFFFFF
    for byte in values.tolist():
        total = table[(total ^ byte) & 0xFF] ^ (total >> 8)
    return total ^ 0xFFFFFFFF


def _append(first: int, second: int, length: int) -> int:
    """Return the checksum of two messages, one behind the other, the second of so many bytes."""
    if not first:  # nothing stands before, as before most tensors: zeros leave the sum of no bytes as it is
        return second
    return int(_shifted(np.array([first], np.uint32), length)[0]) ^ second


def _shifted(sums: Array, zeros: int) -> Array:
    """Return the checksums that messages have once so many zero bytes stand behind them."""
    bit = 0
    while zeros:
        if zeros & 1:
            sums = _applied(_zeros(bit), sums)
        zeros >>= 1
        bit += 1
    return sums


def _applied(matrix: Array, sums: Array) -> Array:
    """Multiply each checksum, as a vector of 32 bits, with a matrix given by its columns."""
    result = np.zeros_like(sums)
    for bit in range(32):
        result ^= np.where(sums >> np.uint32(bit) & np.uint32(1), matrix[bit], np.uint32(0))
    return result


@cache
def _zeros(power: int) -> Array:
    """Return the matrix that appends ``2**power`` zero bytes."""
    if power == 0:
        units = np.uint32(1) << np.arange(32, dtype=np.uint32)
        one: Array = _table()[units & 0xFF] ^ (units >> np.uint32(8))
        return one
    half = _zeros(power - 1)
    return _applied(half, half)


@cache
def _table_of_words() -> Array:
    """Return what two bytes at once do to a checksum."""
    words = np.arange(1 << 16, dtype=np.uint32)
    first = _table()[words & 0xFF] ^ (words >> np.uint32(8))
    both: Array = _table()[first & 0xFF] ^ (first >> np.uint32(8))
    return both


@cache
def _table() -> Array:
    """Return what each byte does to a checksum."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> np.uint32(1) ^ np.uint32(_POLYNOMIAL), table >> np.uint32(1))
    return table.astype(np.uint32)
