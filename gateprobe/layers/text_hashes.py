"""The hashes by which TensorFlow puts texts into buckets.

FarmHash64: ``farmhashna::Hash64`` in https://github.com/google/farmhash (``tf.strings.to_hash_bucket_fast``).
SipHash-2-4: https://www.131002.net/siphash/siphash.pdf (``tf.strings.to_hash_bucket_strong``). Crossing:
``FingerprintCat64`` in ``tsl/platform/fingerprint.h`` and ``sparse_cross_op.cc``.
"""

from __future__ import annotations

import struct

_MASK = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_MURMUR = 0xC6A4A7935BD1E995
_CROSS_KEY = 0xDECAFCAFFE
"""``_DEFAULT_HASH_KEY`` in ``sparse_ops.py``."""


def farm(data: bytes) -> int:
    """Return the 64 bits of FarmHash."""
    length = len(data)
    if length <= 16:
        return _up_to_16(data, length)
    if length <= 32:
        return _up_to_32(data, length)
    return _up_to_64(data, length) if length <= 64 else _long(data, length)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _rotated(value: int, by: int) -> int:
    value &= _MASK
    return (value >> by | value << (64 - by)) & _MASK


def _mixed(value: int) -> int:
    value &= _MASK
    return value ^ (value >> 47)


def _joined(u: int, v: int, mul: int) -> int:
    v &= _MASK
    a = _mixed(((u & _MASK) ^ v) * mul)
    return _mixed((v ^ a) * mul) * mul & _MASK


def _up_to_16(data: bytes, length: int) -> int:
    mul = _K2 + length * 2
    if length >= 8:
        a, b = _word(data, 0) + _K2, _word(data, length - 8)
        return _joined(_rotated(b, 37) * mul + a, (_rotated(a, 25) + b) * mul, mul)
    if length >= 4:
        first, last = int.from_bytes(data[:4], "little"), int.from_bytes(data[-4:], "little")
        return _joined(length + (first << 3), last, mul)
    if not length:
        return _K2
    y, z = data[0] + (data[length >> 1] << 8), length + (data[-1] << 2)
    return _mixed(y * _K2 ^ z * _K0) * _K2 & _MASK


def _up_to_32(data: bytes, length: int) -> int:
    mul = _K2 + length * 2
    a, b = _word(data, 0) * _K1, _word(data, 8)
    c, d = _word(data, length - 8) * mul, _word(data, length - 16) * _K2
    return _joined(_rotated(a + b, 43) + _rotated(c, 30) + d, a + _rotated(b + _K2, 18) + c, mul)


def _up_to_64(data: bytes, length: int) -> int:
    mul = _K2 + length * 2
    a, b = _word(data, 0) * _K2, _word(data, 8)
    c, d = _word(data, length - 8) * mul, _word(data, length - 16) * _K2
    y = _rotated(a + b, 43) + _rotated(c, 30) + d
    z = _joined(y, a + _rotated(b + _K2, 18) + c, mul)
    e, f = _word(data, 16) * mul, _word(data, 24)
    g, h = (y + _word(data, length - 32)) * mul, (z + _word(data, length - 24)) * mul
    return _joined(_rotated(e + f, 43) + _rotated(g, 30) + h, e + _rotated(f + a, 18) + g, mul)


def _long(data: bytes, length: int) -> int:
    x, y = 81, 81 * _K1 + 113
    z = _mixed(y * _K2 + 113) * _K2
    x = x * _K2 + _word(data, 0)
    state = (x, y, z, (0, 0), (0, 0))
    for at in range(0, (length - 1) // 64 * 64, 64):
        state = _round(data, at, state, _K1, 1)
    x, y, z, (v0, v1), (w0, w1) = state
    mul = _K1 + ((z & 0xFF) << 1)
    w0 += (length - 1) & 63
    v0 += w0
    w0 += v0
    x, y, z, (v0, v1), (w0, w1) = _round(data, length - 64, (x, y, z, (v0, v1), (w0, w1)), mul, 9)
    return _joined(_joined(v0, w0, mul) + _mixed(y) * _K0 + z, _joined(v1, w1, mul) + x, mul)


_State = tuple[int, int, int, tuple[int, int], tuple[int, int]]


def _round(data: bytes, at: int, state: _State, mul: int, factor: int) -> _State:
    """Take in 64 bytes."""
    x, y, z, (v0, v1), (w0, w1) = state
    x = _rotated(x + y + v0 + _word(data, at + 8), 37) * mul
    y = _rotated(y + v1 + _word(data, at + 48), 42) * mul
    x = (x & _MASK) ^ (w1 * factor & _MASK)
    y += v0 * factor + _word(data, at + 40)
    z = _rotated(z + w0, 33) * mul
    v = _weak(data, at, v1 * mul, x + w0)
    w = _weak(data, at + 32, z + w1, y + _word(data, at + 16))
    return z & _MASK, y & _MASK, x & _MASK, v, w


def _weak(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    """``WeakHashLen32WithSeeds``."""
    w, x, y, z = (_word(data, at + step) for step in (0, 8, 16, 24))
    a += w
    b = _rotated(b + a + z, 21)
    c = a
    a += x + y
    return (a + z) & _MASK, (b + _rotated(a, 44) + c) & _MASK


def sip(data: bytes, key: tuple[int, int]) -> int:
    """Return the 64 bits of SipHash-2-4."""
    first, second = (part & _MASK for part in key)
    v = [
        first ^ 0x736F6D6570736575,
        second ^ 0x646F72616E646F6D,
        first ^ 0x6C7967656E657261,
        second ^ 0x7465646279746573,
    ]
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        _sip_rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xFF
    _sip_rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _sip_rounds(v: list[int], count: int) -> None:
    """Mix; 51 to the right is 13 to the left."""
    for _ in range(count):
        for a, b, by in ((0, 1, 51), (2, 3, 48)):
            v[a] = (v[a] + v[b]) & _MASK
            v[b] = _rotated(v[b], by) ^ v[a]
        v[0] = _rotated(v[0], 32)
        for a, b, by in ((2, 1, 47), (0, 3, 43)):
            v[a] = (v[a] + v[b]) & _MASK
            v[b] = _rotated(v[b], by) ^ v[a]
        v[2] = _rotated(v[2], 32)


def crossed(values: tuple[bytes | int, ...]) -> int:
    """Return the hash of several features together: texts by their FarmHash, integers as they are."""
    result = _CROSS_KEY
    for value in values:
        one = farm(value) if isinstance(value, bytes) else value & _MASK
        result ^= _MURMUR
        result ^= _mixed(one * _MURMUR) * _MURMUR & _MASK
        result = result * _MURMUR & _MASK
        result = _mixed(_mixed(result) * _MURMUR)
    return result
