"""Valid files to start from: the recorded models of the tests, and small ones made here."""

import io
import json
import struct
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuzz.edits import Seed
from gateprobe.readers.savedmodel.checksum import masked_crc32c

ROOT = Path(__file__).parents[1]
LEGACY = ROOT / "tests" / "data" / "legacy"
TFJS = ROOT / "tests" / "data" / "tfjs"
_TFJS = ("converted_keras2", "uint8", "bidirectional")


@cache
def hdf5() -> list[Seed]:
    """Whole models and weights in HDF5, of all eras."""
    paths = _smaller([*sorted(LEGACY.glob("*/*/model.h5")), *sorted(LEGACY.glob("*/*/*weights.h5"))], 24_000)
    plain = [_hdf5_seed(str(path.relative_to(LEGACY)), path.read_bytes()) for path in paths]
    zipped = min(LEGACY.glob("*/*/model.keras"), key=lambda path: path.stat().st_size).read_bytes()
    model = min(LEGACY.glob("*/*/model.h5"), key=lambda path: path.stat().st_size)
    blocks = {"user block": bytes(512), "zip in front": zipped}
    more = [_hdf5_seed(f"{name}.h5", _behind(block, model)) for name, block in blocks.items()]
    return [*plain, *more, _hdf5_seed("zip behind.h5", model.read_bytes() + zipped)]


def _behind(block: bytes, path: Path) -> bytes:
    """Return a copy of a model behind a user block, which holds anything."""
    size, stream = 512, io.BytesIO()
    while size < len(block):
        size *= 2
    with h5py.File(path, "r") as source, h5py.File(stream, "w", userblock_size=size) as target:
        for name in source:
            source.copy(name, target)
        for name, value in source.attrs.items():
            target.attrs[name] = value
    return block.ljust(size, b"\0") + stream.getvalue()[size:]


@cache
def chunked() -> list[Seed]:
    """The same in compressed chunks, which no Keras writes and other tools do."""
    path = LEGACY / "keras_2.0.4" / "masking_lstm" / "model.h5"
    return [_hdf5_seed("packed", _packed(path))]


def tfjs() -> list[Any]:
    """A `model.json` of TensorFlow.js for each way to store weights."""
    return [json.loads((TFJS / name / "model.json").read_bytes()) for name in _TFJS]


@cache
def tfjs_shards() -> dict[str, bytes]:
    """The shards of these models, by name: each model finds its own or, after an edit, another one's."""
    return {path.name: path.read_bytes() for name in _TFJS for path in sorted((TFJS / name).glob("*.bin"))}


def _smaller(paths: list[Path], limit: int) -> list[Path]:
    """Return the files that are small, because executions per second count."""
    return [path for path in paths if path.stat().st_size < limit]


def _packed(path: Path) -> bytes:
    """Return a model with compressed, checked chunks, as h5repack makes it."""
    stream = io.BytesIO()
    with h5py.File(path, "r") as source, h5py.File(stream, "w") as target:
        for name in source:
            source.copy(name, target)
        for name, value in source.attrs.items():
            target.attrs[name] = value
        places: list[str] = []
        target.visititems(lambda name, item: places.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in places:
            value = target[name][()]
            del target[name]
            chunks = tuple(max(1, size // 2) for size in value.shape)
            target.create_dataset(name, data=value, chunks=chunks, compression="gzip", shuffle=True, fletcher32=True)
    return stream.getvalue()


def _hdf5_seed(name: str, data: bytes) -> Seed:
    numbers = bytearray(len(data))
    with h5py.File(io.BytesIO(data), "r") as file:

        def note(_: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.id.get_offset() is not None:
                at, size = item.id.get_offset(), item.id.get_storage_size()
                numbers[at : at + size] = b"\1" * size

        file.visititems(note)
    # runs of zeros are reserve that is never read; a few of their bytes are enough
    busy = [k for k in range(len(data)) if not numbers[k] and (any(data[max(0, k - 4) : k + 4]) or k % 64 == 0)]
    return Seed(name, data, tuple(busy))


@cache
def keras() -> list[Seed]:
    """``.keras`` zips."""
    paths = _smaller(sorted(LEGACY.glob("*/*/model.keras")), 41_000)
    plain = [_zip_seed(str(path.relative_to(LEGACY)), path.read_bytes()) for path in paths]
    model = min(LEGACY.glob("*/*/model.h5"), key=lambda path: path.stat().st_size).read_bytes()
    packed, doubled = (_rezipped(paths[0], deflated=deflated) for deflated in (True, False))
    more = {"packed.keras": packed, "doubled.keras": doubled, "HDF5 in front.keras": model + paths[0].read_bytes()}
    return [*plain, *(_zip_seed(name, data) for name, data in more.items())]


def _rezipped(path: Path, *, deflated: bool) -> bytes:
    """Return a copy with every member a second time, under a name that is one edit away from the first."""
    stream = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(stream, "w", method) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
            target.writestr(f"{name[:-1]}_", source.read(name)[::-1])
    return stream.getvalue()


def _zip_seed(name: str, data: bytes) -> Seed:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        headers = [info.header_offset for info in archive.infolist()]
        names = [len(info.filename) for info in archive.infolist()]
        table = archive.start_dir
    fields = [k for at, size in zip(headers, names, strict=True) for k in range(at, at + 30 + size)]
    return Seed(name, data, (*fields, *range(table, len(data))))


@cache
def npz() -> list[Seed]:
    """``.npz`` files of samples."""
    rng = np.random.default_rng(0)
    seeds = []
    for number, save in enumerate((np.savez, np.savez_compressed)):
        stream = io.BytesIO()
        save(stream, x=rng.normal(size=(3, 4, 2)).astype(">f4"), tokens=np.asfortranarray(rng.integers(0, 9, (3, 4))))
        seeds.append(Seed(f"npz{number}", stream.getvalue(), tuple(range(len(stream.getvalue())))))
    return seeds


@cache
def npy() -> list[bytes]:
    """``.npy`` files."""
    arrays = [np.arange(6.0).reshape(2, 3), np.zeros((0, 3), "i1"), np.asfortranarray(np.ones((3, 2), ">f2"))]
    arrays += [np.array(7), np.array([True, False]), np.ones((1, 1, 1), "<u8"), np.array([1 + 2j])]
    texts = []
    for array in arrays:
        stream = io.BytesIO()
        np.save(stream, array)
        texts.append(stream.getvalue())
    return texts


@cache
def architectures() -> list[Any]:
    """Architectures of all eras."""
    found = []
    for path in sorted(LEGACY.glob("*/*/model.h5")):
        with h5py.File(path, "r") as file:
            text = file.attrs["model_config"]
            found.append(json.loads(text if isinstance(text, (str, bytes)) else text.item()))
    for path in sorted(LEGACY.glob("*/*/model.keras")):
        with zipfile.ZipFile(path) as archive:
            found.append(json.loads(archive.read("config.json")))
    return sorted(found, key=lambda value: len(json.dumps(value)))[:14]


@cache
def wirings() -> list[Any]:
    """Wiring files."""
    layer = {"name": "lstm", "class_name": "LSTM", "config": {"units": 2}, "inputs": "x", "weights": "a/lstm[0:3]"}
    dense = {"name": "out", "class_name": "Dense", "config": {"units": 2}, "calls": ["lstm", {"inputs": ["lstm:0[0]"]}]}
    inputs = {"x": {"shape": [None, 3]}, "state": {"shape": [2], "dtype": "float32"}}
    first = {"gateprobe_wiring": 1, "keras_version": "2.4.0", "inputs": inputs, "layers": [layer], "outputs": ["lstm"]}
    second = {**first, "layers": [{**layer, "inputs": ["x"]}, dense], "outputs": ["out:1", "lstm"]}
    return [first, second]


@cache
def metadata() -> list[bytes]:
    """Protocol buffers as SavedModel folders have them: numbered nodes, names and JSON texts."""

    def field(number: int, value: int | bytes) -> bytes:
        if isinstance(value, int):
            return bytes([number << 3]) + _varint(value)
        return bytes([number << 3 | 2]) + _varint(len(value)) + value

    texts = [b'{"name": "lstm", "class_name": "LSTM", "config": {"units": 2}}', b'{"name": "m", "class_name": "Model"}']
    nodes = [
        field(1, field(2, number) + field(3, b"root.a") + field(4, b"_tf_keras_layer") + field(5, text))
        for number, text in enumerate(texts)
    ]
    children = field(1, field(1, 1) + field(2, b"variables")) + field(2, field(1, b"VARIABLE_VALUE") + field(3, b"k"))
    return [b"".join(nodes), field(1, children) * 3, field(1, field(1, (1 << 64) - 1)), b""]


def index_of(block: bytes) -> bytes:
    """Return an index of variables whose one block holds these bytes, with the checksums that belong to them."""

    def closed(content: bytes) -> bytes:
        return content + b"\0" + struct.pack("<I", masked_crc32c(content + b"\0"))

    handle = _varint(0) + _varint(len(block))
    entry = bytes([0, 1, len(handle)]) + b"~" + handle + struct.pack("<II", 0, 1)
    head = closed(block)
    footer = (_varint(0) + _varint(0) + _varint(len(head)) + _varint(len(entry))).ljust(40, b"\0")
    return head + closed(entry) + footer + struct.pack("<Q", 0xDB4775248B80FB57)


def blocks() -> list[bytes]:
    """Blocks of indexes: a header and a tensor; a text; a tensor in two parts."""

    def field(number: int, value: int | bytes) -> bytes:
        if isinstance(value, int):
            return bytes([number << 3]) + _varint(value)
        return bytes([number << 3 | 2]) + _varint(len(value)) + value

    def block(**entries: bytes) -> bytes:
        items = {"": field(1, 1), **entries}
        body = b"".join(bytes([0, len(key), len(value)]) + key.encode() + value for key, value in items.items())
        return body + struct.pack("<II", 0, 1)

    def tensor(kind: int, *more: bytes) -> bytes:
        return field(1, kind) + field(2, field(2, field(1, 4))) + field(5, 16) + b"".join(more)

    def part(start: int) -> bytes:
        return field(7, field(1, field(1, start) + field(2, 2)))

    checksum = bytes([6 << 3 | 5]) + struct.pack("<I", masked_crc32c(bytes(range(16))))
    return [block(a=tensor(1, checksum)), block(a=tensor(7)), block(a=tensor(3, part(0), part(2)))]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@cache
def tables() -> list[bytes]:
    """Tables of samples, behind a byte that chooses the expected shape."""
    return [
        b"\x001,2,3\n4,5,6\n",
        b"\x01sample,timestep,a,b\n0,0,1,2\n0,1,3.5,-4e3\n1,0,5,6\n1,1,7,NaN\n",
        b"\x02a\tb\n1\t2\n",
        b'\x00"1","2"\r\n"3",4\r\n',
        b"\x01\xef\xbb\xbfx\n1\n",
    ]


@cache
def names() -> list[bytes]:
    """Names that are formulas, paths and control sequences."""
    texts = ["=cmd()", "a/../b", "\x1b[2J\u202e", "-x", "a\\x41", "\ud800", "x,=y", "é", "", "//", ".", "a\nb"]
    return [text.encode("utf-8", "surrogatepass") for text in texts]
