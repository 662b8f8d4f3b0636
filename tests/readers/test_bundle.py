"""Checkpoints of TensorFlow, read without it, against what TensorFlow itself wrote and reads."""

import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from readers import bundles

from gateprobe.errors import GateprobeError, ReadError, UnsafeFile
from gateprobe.readers.hdf5 import Budget
from gateprobe.readers.savedmodel import bundle
from gateprobe.readers.savedmodel.checksum import crc32c, masked_crc32c

VECTORS = {  # RFC 3720, appendix B.4, and the check value of the Rocksoft catalogue
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(range(31, -1, -1)): 0x113FDB5C,
    b"123456789": 0xE3069283,
}


@pytest.mark.parametrize("data", VECTORS)
def test_known_checksums(data):
    assert crc32c(data) == VECTORS[data]


def scalar(data):
    """The definition, bit by bit."""
    total = 0xFFFFFFFF
    for byte in data:
        total ^= byte
        for _ in range(8):
            total = total >> 1 ^ (0x82F63B78 if total & 1 else 0)
    return total ^ 0xFFFFFFFF


@pytest.mark.parametrize("size", [16_383, 16_384, 16_385, 40_001])
def test_long_messages_run_in_lanes(size):
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == scalar(data)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_pieces_have_the_checksum_of_the_whole(pieces):
    assert masked_crc32c(*pieces) == masked_crc32c(b"".join(pieces))


def files_of(prefix):
    """Return what opens the files of a checkpoint; they are small."""

    def files(count):
        names = [f"{prefix}.data-{number:05}-of-{count:05}" for number in range(count)]
        return tuple(io.BytesIO(Path(name).read_bytes()) for name in names)

    return files


def opened(prefix):
    return bundle.open_bundle(Path(f"{prefix}.index").read_bytes(), files_of(prefix), "index")


@pytest.fixture(scope="module")
def written(tmp_path_factory, kerases):
    """A checkpoint with every kind of tensor, written by TensorFlow."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    values = {
        **{f"plain/{dtype}": random.integers(0, 2, (3, 4)).astype(dtype) for dtype in PLAIN},
        "bfloat16": tf.constant(random.normal(size=(5, 3)), tf.bfloat16),
        "scalar": np.float32(3.5),
        "empty": np.zeros((0, 4), np.float32),
        "texts": tf.constant([["a", "bc"], ["", "ä" * 200]]),
        "text": tf.constant("one"),
        **{f"many/{number:04}": np.float32([number]) for number in range(500)},
    }
    whole = random.normal(size=(200, 6)).astype(np.float32)
    parts = {"200 6 0,70:-": whole[:70], "200 6 70,130:0,4": whole[70:, :4], "200 6 70,130:4,2": whole[70:, 4:]}
    prefix = str(tmp_path_factory.mktemp("checkpoint") / "variables")
    names = [*values, *("sliced" for _ in parts)]
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[*("" for _ in values), *parts],
        tensors=[tf.convert_to_tensor(value) for value in (*values.values(), *parts.values())],
    )
    return prefix, values, whole


PLAIN = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool".split()


@pytest.mark.oracle
def test_every_tensor_that_tensorflow_writes_is_read(written):
    prefix, values, whole = written
    found = opened(prefix)
    for name, value in values.items():
        entry = found.entries[name]
        if entry.texts:
            assert found.texts(name, 1000) == tuple(np.asarray(value).ravel().tolist())
            continue
        expected = np.asarray(value)
        expected = expected if expected.dtype.kind in "fiub" else expected.astype(np.float32)
        read = found.array(name, Budget(1 << 20))
        assert read.dtype == expected.dtype
        np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(found.array("sliced", Budget(1 << 20)), whole)


@pytest.mark.oracle
def test_several_files_and_numbers_beyond_a_byte(tmp_path, kerases):
    import tensorflow as tf

    parts = []
    for number in range(2):
        parts.append(f"{tmp_path}/part{number}")
        tf.raw_ops.SaveV2(
            prefix=parts[-1],
            tensor_names=[f"v{number}"],
            shape_and_slices=[f"1000000 1 {number * 500_000},500000:-"],
            tensors=[tf.range(500_000.0)[:, None] + number],
        )
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=f"{tmp_path}/all")
    found = opened(f"{tmp_path}/all")
    assert len(found.files) == 2
    assert {key[:4] for key in found.parts} == {b"\0v0\0", b"\0v1\0"}
    for key, entry in found.parts.items():
        extent = found.entries[key[1:3].decode()].parts[0]
        assert bundle._part_key(key[1:3].decode(), extent) == key
        assert entry.shape == (500_000, 1)
    with pytest.raises(ReadError, match="leave gaps"):
        found.array("v0", Budget(1 << 30))


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["plain/float32", "texts", "sliced"])
def test_a_changed_byte_is_noticed(written, tmp_path, name):
    prefix, _, _ = written
    found = opened(prefix)
    entry = found.entries[name]
    entry = next(iter(found.parts.values())) if entry.parts else entry
    for suffix in (".index", ".data-00000-of-00001"):
        data = bytearray(Path(prefix + suffix).read_bytes())
        if suffix != ".index":
            data[entry.offset + entry.size - 1] ^= 1
        (tmp_path / f"variables{suffix}").write_bytes(data)
    changed = opened(tmp_path / "variables")
    with pytest.raises(ReadError, match="damaged"):
        changed.texts(name, 1000) if name == "texts" else changed.array(name, Budget(1 << 20))


@pytest.mark.oracle
def test_a_damaged_index_never_gives_another_fault(written):
    prefix, _, _ = written
    data = Path(f"{prefix}.index").read_bytes()
    random = np.random.default_rng(5)
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(int(random.integers(1, 4))):
            damaged[random.integers(len(data))] = random.integers(256)
        try:
            bundle.open_bundle(bytes(damaged), lambda count: (io.BytesIO(),) * count, "index")
        except GateprobeError:
            continue
        assert damaged[-40:-8] != data[-40:-8] or damaged == data  # padding of the footer has no checksum


@pytest.mark.oracle
def test_a_limit_holds_before_anything_is_read(written):
    found = opened(written[0])
    with pytest.raises(UnsafeFile, match="the limit is 100"):
        found.array("sliced", Budget(100))
    with pytest.raises(UnsafeFile, match="the limit is 3"):
        found.texts("texts", 3)


RANDOM = np.random.default_rng(1)
BITS = (RANDOM.normal(size=(5, 3)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
BY_HAND = {
    **{f"plain/{dtype}": RANDOM.integers(0, 100, (3, 4)).astype(dtype) for dtype in bundles.NUMBERS},
    "scalar": np.float32(3.5),
    "texts": (b"a", b"", b"b" * 300),
    "bfloat16": ("bfloat16", BITS),
}


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_in_either_order_over_several_files(tmp_path, order, files):
    """Machines with the most significant byte first, such as s390x, write it first and say so."""
    found = opened(bundles.write(tmp_path / "variables", BY_HAND, order=order, files=files))
    assert (found.order, len(found.files)) == (order, files)
    for name, value in BY_HAND.items():
        if name == "texts":
            assert found.texts(name, 1000) == value
            continue
        read = found.array(name, Budget(1 << 20))
        expected = (BITS.astype(np.uint32) << 16).view(np.float32) if name == "bfloat16" else value
        assert read.dtype == expected.dtype
        assert read.dtype.isnative
        np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_order_that_is_not_that_of_the_bytes_is_noticed_in_texts_alone(tmp_path, order):
    """A checksum is of the bytes as they are stored: nothing but the header says how numbers are meant."""
    prefix = bundles.write(tmp_path / "variables", BY_HAND, order=order)
    found = replace(opened(prefix), order="<" if order == ">" else ">")
    with pytest.raises(ReadError, match="damaged"):
        found.texts("texts", 1000)


@pytest.mark.oracle
@pytest.mark.parametrize("order", ["<", ">"])
def test_tensorflow_reads_what_is_written_by_hand(tmp_path, kerases, order):
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(bundles.write(tmp_path / "variables", BY_HAND, order=order, files=2)))
    for name, value in BY_HAND.items():
        read = reader.get_tensor(name)
        if name == "texts":
            assert tuple(read.tolist()) == value
        elif name == "bfloat16":
            np.testing.assert_array_equal(read.view(np.uint16), BITS)
        else:
            np.testing.assert_array_equal(read, value)


@given(st.integers(-(2**62), 2**62))
def test_signed_numbers_keep_their_order(value):
    """The code is made so that bytes compare like numbers."""
    assert bundle._signed(value) < bundle._signed(value + 1)
    assert bundle._signed(-1) == b"\x7f"
    assert struct.unpack("B", bundle._signed(0)) == (0x80,)
