"""Writes checkpoints of TensorFlow by hand: bytes in either order, and over several files.

The format: ``tensorflow/core/util/tensor_bundle/tensor_bundle.cc``, ``core/protobuf/tensor_bundle.proto``, and for the
index LevelDB's ``doc/table_format.md``. TensorFlow reads what is written here (``test_bundle.py``).
"""

import struct

import numpy as np

from gateprobe.readers.savedmodel.checksum import masked_crc32c

NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int64": 9, "bool": 10, "float16": 19}
TEXT, BFLOAT16 = 7, 14
MAGIC = 0xDB4775248B80FB57


def varint(value):
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def number(field, value):
    return varint(field << 3) + varint(value)


def sized(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def block(items):
    """A block of a table that shares no beginnings of keys, with its trailer."""
    data, starts = b"", []
    for key, value in items:
        starts.append(len(data))
        data += varint(0) + varint(len(key)) + varint(len(value)) + key + value
    data += b"".join(struct.pack("<I", start) for start in starts or [0]) + struct.pack("<I", len(starts) or 1)
    return data + b"\0" + struct.pack("<I", masked_crc32c(data, b"\0"))


def handle(at, whole):
    return varint(at) + varint(len(whole) - 5)


def table(items):
    entries = block(items)
    meta, index = block([]), block([(items[-1][0] + b"\0", handle(0, entries))])
    ends = handle(len(entries), meta) + handle(len(entries) + len(meta), index)
    return entries + meta + index + ends.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def stored(value, order):
    """Return number of the type, shape, bytes and checksum of a tensor: an array, texts, or ``("bfloat16", bits)``."""
    if isinstance(value, tuple) and value and isinstance(value[0], bytes):
        lengths = b"".join(varint(len(text)) for text in value)
        summed = b"".join(struct.pack(f"{order}I", len(text)) for text in value)
        check, texts = struct.pack(f"{order}I", masked_crc32c(summed)), b"".join(value)
        return (
            TEXT,
            (len(value),) if len(value) > 1 else (),
            lengths + check + texts,
            masked_crc32c(summed, check, texts),
        )
    kind = BFLOAT16 if isinstance(value, tuple) else NUMBERS[str(value.dtype)]
    array = np.asarray(value[1] if isinstance(value, tuple) else value)
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    return kind, np.shape(array), data, masked_crc32c(data)


def write(prefix, tensors, *, order="<", files=1):
    """Write tensors by their keys, the first into the first file, the second into the second, and so on."""
    shards = [bytearray() for _ in range(files)]
    header = number(1, files) + number(2, 1 if order == ">" else 0) + sized(3, number(1, 1))
    items = [(b"", header)]
    for at, key in enumerate(sorted(tensors, key=str.encode)):
        kind, shape, data, checksum = stored(tensors[key], order)
        shard = at % files
        axes = b"".join(sized(2, number(1, size)) for size in shape)
        entry = number(1, kind) + sized(2, axes) + number(3, shard) + number(4, len(shards[shard]))
        entry += number(5, len(data)) + varint(6 << 3 | 5) + struct.pack("<I", checksum)
        items.append((key.encode(), entry))
        shards[shard] += data
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(items))
    for at, data in enumerate(shards):
        prefix.with_name(f"{prefix.name}.data-{at:05}-of-{files:05}").write_bytes(data)
    return prefix
