"""Edits of a valid binary file: what the harnesses for HDF5, zip and npz get as input instead of the file itself.

An input is one byte that chooses a seed and six bytes for each edit. So every input is a valid file with a few fields
changed, however the fuzzer mutates it, and the target knows what the file held before.
"""

import random
import struct
from dataclasses import dataclass

EDIT = 6
INTERESTING = (
    *(0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 511, 512, 1000, 1023, 1024, 4095, 4096),
    *(32767, 32768, 65535, 65536, (1 << 20), (1 << 24) - 1, (1 << 24), (1 << 31) - 1, 1 << 31, (1 << 32) - 1),
    *(1 << 32, 1 << 40, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 8, (1 << 64) - 16),
)
_WIDTHS = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}


@dataclass(frozen=True, slots=True)
class Seed:
    """A valid file."""

    name: str
    data: bytes
    fields: tuple[int, ...]
    """Offsets of bytes that are structure and not numbers."""


def chosen(data: bytes, seeds: list[Seed]) -> tuple[Seed, bytes]:
    """Return the seed that an input chooses and the file that it makes of it."""
    seed = seeds[data[0] % len(seeds)] if data else seeds[0]
    file = bytearray(seed.data)
    for at in range(1, min(len(data), 1 + 8 * EDIT) - EDIT + 1, EDIT):
        _apply(file, data[at : at + EDIT])
    return seed, bytes(file)


def _apply(file: bytearray, edit: bytes) -> None:
    at, kind, value = int.from_bytes(edit[:3], "big"), edit[3], int.from_bytes(edit[4:], "big")
    if not file:
        return
    at %= len(file)
    match kind % 8:
        case 0:
            file[at] = value & 255
        case 1:
            file[at] ^= 1 << (value & 7)
        case 2 | 3 | 4 | 5:
            _put(file, at, 1 << (kind % 8 - 2), INTERESTING[value % len(INTERESTING)])
        case 6 if value & 1:
            del file[at:]
        case 6:
            del file[at : at + (value >> 1) % 64]
        case _:
            source = value * 8 % len(file)
            file[at : at + 8] = file[source : source + 8]


def _put(file: bytearray, at: int, width: int, value: int) -> None:
    if at + width <= len(file):
        struct.pack_into(_WIDTHS[width], file, at, value & ((1 << 8 * width) - 1))


def mutated(data: bytes, seeds: list[Seed], seed: int) -> bytes:
    """Return another input: one edit more, less or changed, mostly at a field."""
    rng = random.Random(seed)
    if len(data) <= 1 or rng.random() < 0.4:
        number = rng.randrange(len(seeds))
        return bytes([number]) + _edit(seeds[number], rng)
    number, edits = data[0] % len(seeds), [data[k : k + EDIT] for k in range(1, len(data), EDIT)]
    roll = rng.random()
    if roll < 0.4 and len(edits) < 4:
        edits.append(_edit(seeds[number], rng))
    elif roll < 0.6 and len(edits) > 1:
        del edits[rng.randrange(len(edits))]
    else:
        k = rng.randrange(len(edits))
        changed = bytearray(edits[k].ljust(EDIT, b"\0"))
        changed[rng.randrange(EDIT)] = rng.randrange(256)
        edits[k] = bytes(changed) if rng.random() < 0.5 else _edit(seeds[number], rng)
    return bytes([number]) + b"".join(edits)


def _edit(seed: Seed, rng: random.Random) -> bytes:
    at = rng.choice(seed.fields) if rng.random() < 0.95 else rng.randrange(len(seed.data))
    return at.to_bytes(3, "big") + bytes([rng.randrange(8)]) + rng.randrange(1 << 16).to_bytes(2, "big")
