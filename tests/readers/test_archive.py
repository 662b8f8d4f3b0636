"""``.keras`` zips that are damaged or ask for something, and the index of sharded weights."""

import json
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from readers.build import h5, keras, lstm, members, sequential, tree_bytes

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.readers import read

SHARDED = Path(__file__).parents[1] / "data" / "sharded"


def with_info(path, change, data=b"x"):
    """Write a good zip in which ``change`` altered the entry of config.json."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members().items():
            info = zipfile.ZipInfo(name)
            if name == "config.json":
                change(info)
            archive.writestr(info, data if info.external_attr else content)
    return path


def patched(path, old, new):
    """Write a good zip and change bytes of its table of contents."""
    data = keras(path).read_bytes()
    at = data.index(b"PK\x01\x02")
    path.write_bytes(data[:at] + data[at:].replace(old, new))
    return path


def encrypted(path):
    data = bytearray(keras(path).read_bytes())
    data[data.index(b"PK\x01\x02", data.index(b"config.json")) + 8] |= 1
    for at in (data.index(b"PK\x01\x02"), data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)):
        data[at + 8] |= 1
    path.write_bytes(data)
    return path


def twice(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", members()["config.json"])
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("config.json", members()["config.json"])
    return path


def method(path):
    """Compression method 99 in both headers of config.json."""
    data = bytearray(keras(path).read_bytes())
    central = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    struct.pack_into("<H", data, central + 10, 99)
    path.write_bytes(data)
    return path


def in_folder(path):
    return keras(path, {f"model/{name}": data for name, data in members().items()})


def blanks(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (65 << 20) + members()["config.json"])
    return path


def lying_size(path):
    """The table of contents says 10 bytes, the member has many more."""
    data = bytearray(blanks(path).read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 10)
    path.write_bytes(data)
    return path


def zip64(path):
    """The sizes of a table of contents above 4 GiB stand in a record of their own."""
    data = bytearray(keras(path).read_bytes())
    at = data.index(b"PK\x05\x06")
    struct.pack_into("<I", data, at + 12, 0xFFFFFFFF)
    data[at:at] = b"PK\x06\x06" + bytes(36) + struct.pack("<QQ", 1 << 40, 0)
    path.write_bytes(data)
    return path


def symlink(info):
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16


BAD = {
    "no config": (lambda path: keras(path, config=None), ReadError, "holds no config.json"),
    "no weights": (lambda path: keras(path, weights=None), ReadError, "holds no model.weights.h5"),
    "in a folder": (in_folder, ReadError, "it is at model/config.json: zip the files without the folder"),
    "config is a pickle": (lambda path: keras(path, config=b"\x80\x04N."), ReadError, "config.json: is not UTF-8"),
    "config is a list": (lambda path: keras(path, config=b"[1]"), ReadError, "expected a layer, got list"),
    "weights are text": (lambda path: keras(path, weights=b"hello"), ReadError, "model.weights.h5 is damaged"),
    "version 9": (lambda path: keras(path, metadata=b'{"keras_version": "9.0"}'), ReadError, "from Keras '9.0'"),
    "no end": (lambda path: path.write_bytes(keras(path).read_bytes()[:-30]), ReadError, "no table of contents"),
    "symlink": (lambda path: with_info(path, symlink), UnsafeFile, "config.json: is not a plain file"),
    "twice": (twice, UnsafeFile, "config.json: occurs 2 times"),
    "method 99": (method, UnsafeFile, "config.json: uses the zip compression method 99"),
    "encrypted": (encrypted, UnsafeFile, "is encrypted"),
    "bomb": (blanks, UnsafeFile, "config.json: would unpack 66,... stored bytes into 68,15.,..."),
    "lying bomb": (lying_size, ReadError, "config.json|damaged"),
    "large metadata": (lambda path: keras(path, metadata=b" " * (2 << 20)), UnsafeFile, "metadata.json: unpacks"),
    "large directory of zip64": (zip64, UnsafeFile, "table of contents has 1,099,511,627,776 bytes"),
    "large directory": (
        lambda path: patched(path, struct.pack("<HH", 3, 3), struct.pack("<HHI", 3, 3, 1 << 30)),
        UnsafeFile,
        "table of contents has 1,073,741,824 bytes",
    ),
}


@pytest.mark.parametrize("how", BAD)
def test_bad_zip(tmp_path, how):
    make, kind, message = BAD[how]
    path = tmp_path / "model.keras"
    make(path)
    with pytest.raises(kind, match=message) as caught:
        read(path)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_members_that_keras_does_not_read_are_not_read(tmp_path):
    """Traversal, links and assets: nothing is unpacked, whatever their names."""
    content = members() | {"../../escape": b"x", "/etc/escape": b"x", "assets/a\0b": b"x"}
    graph = read(keras(tmp_path / "model.keras", content))
    assert graph.origin.container == "keras"
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_suffix_does_not_matter_and_metadata_may_be_missing(tmp_path):
    graph = read(keras(tmp_path / "model.h5", metadata=None))
    assert graph.origin.keras_version is None
    assert graph.origin.evidence[0] == "no version is recorded"
    lstm_group = graph.weights.root.children["layers"].children["lstm"].children["cell"]
    assert [array.value.shape for array in lstm_group.arrays] == [(3, 8), (2, 8), (8,)]


def test_shards_give_what_one_file_gives(tmp_path):
    """Written by Keras 3.15.1; the arrays of one cell lie in two shards."""
    whole = read(SHARDED / "whole.weights.h5", architecture=SHARDED / "model.json")
    parts = read(SHARDED / "model.weights.json", architecture=SHARDED / "model.json")
    assert parts.origin.sha256 != whole.origin.sha256
    assert [layer.name for layer in parts.model.layers] == [layer.name for layer in whole.model.layers]

    def same(ours, theirs):
        assert ours.name == theirs.name
        for a, b in zip(ours.arrays, theirs.arrays, strict=True):
            np.testing.assert_array_equal(a.value, b.value)
        for name, child in ours.children.items():
            same(child, theirs.children[name])

    same(parts.weights.root, whole.weights.root)


def test_shards_inside_a_zip(tmp_path):
    index = SHARDED / "model.weights.json"
    names = ["model_00000.weights.h5", "model_00001.weights.h5", "model_00002.weights.h5"]
    content = {"config.json": (SHARDED / "model.json").read_bytes(), "model.weights.json": index.read_bytes()}
    content |= {name: (SHARDED / name).read_bytes() for name in names}
    cells = read(keras(tmp_path / "model.keras", content)).weights.root.children["layers"].children
    assert [len(cells[name].children["cell"].arrays) for name in ("lstm", "lstm_1")] == [3, 3]


@pytest.mark.parametrize(
    ("table", "kind", "message"),
    [
        ({"/a/vars": "../secret.h5"}, UnsafeFile, "names a file outside its folder"),
        ({"/a/vars": "C:secret.h5"}, UnsafeFile, "names a file outside its folder"),
        ({"/a/vars": ["a\\b.h5"]}, UnsafeFile, "names a file outside its folder"),
        ({"/a/vars": [["one.h5"]]}, UnsafeFile, "names a file outside its folder"),
        ({"/a/vars": 7}, UnsafeFile, "names a file outside its folder: 7"),
        ({"/a/vars": "gone.h5"}, ReadError, "names gone.h5, and there is no such file"),
        ({"/a/vars": "link.h5"}, ReadError, "names link.h5, and there is no such file"),
        ({"/a/vars": ["one.h5", "two.h5"]}, ReadError, "occurs in two shards"),
        ({}, ReadError, "nor an index of sharded weights"),
        ({f"/{n}": f"{n}.h5" for n in range(1001)}, UnsafeFile, "names 1001 files"),
    ],
)
def test_bad_index_of_shards(tmp_path, table, kind, message):
    for name in ("one.h5", "two.h5"):
        (tmp_path / name).write_bytes(tree_bytes())
    (tmp_path / "link.h5").symlink_to(tmp_path / "one.h5")
    (tmp_path / "model.weights.json").write_text(json.dumps({"weight_map": table}))
    with pytest.raises(kind, match=message) as caught:
        read(tmp_path / "model.weights.json")
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "is a folder; name a file in it"),
        (lambda path: None, "there is no such file"),
        (lambda path: path.touch(), "the file is empty"),
        (lambda path: path.write_text(json.dumps(sequential(lstm()))), "this is an architecture: give the weights"),
        (lambda path: path.write_bytes(b"\x1f\x8b junk"), "is neither HDF5 nor a .keras zip"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    ],
)
def test_other_files(tmp_path, make, message):
    make(tmp_path / "model.h5")
    with pytest.raises(ReadError, match=message):
        read(tmp_path / "model.h5")


@pytest.mark.parametrize("name", ["model.h5", "model.json"])
def test_size_of_what_is_no_model_does_not_matter(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        file.write(b"{")
        file.truncate(1 << 30)
    with pytest.raises(ReadError, match="is neither HDF5 nor a"):
        read(tmp_path / name)


def test_shards_count_towards_the_budget():
    with pytest.raises(UnsafeFile, match=r"the shard has [\d,]+ bytes"):
        read(SHARDED / "model.weights.json", max_bytes=1000)


def test_evil_file_name_stays_on_one_line(tmp_path):
    with pytest.raises(ReadError) as caught:
        read(tmp_path / "a\x1b[2J\n\u202e=cmd().h5")
    assert str(caught.value).isprintable()


def test_architecture_beside_weights(tmp_path):
    weights, model = tmp_path / "model.weights.h5", tmp_path / "model.json"
    weights.write_bytes(tree_bytes())
    layer = {"module": "keras.layers", "registered_name": None, **lstm()}
    model.write_text(json.dumps({"module": "keras", "registered_name": None, **sequential(layer)}))
    assert [layer.name for layer in read(weights, architecture=model).model.layers] == ["lstm_input", "lstm"]
    with pytest.raises(ReadError, match="has an architecture of its own; leave architecture out"):
        read(h5(tmp_path / "model.h5"), architecture=model)
    with pytest.raises(ReadError, match="has an architecture of its own; leave architecture out"):
        read(keras(tmp_path / "model.keras"), architecture=model)
    model.write_text("{}")
    with pytest.raises(ReadError, match=r"model.json: is not an architecture; write one with"):
        read(weights, architecture=model)
    with pytest.raises(ReadError, match=r"gone.json: there is no such file"):
        read(weights, architecture=tmp_path / "gone.json")


def test_weights_and_architecture_of_different_eras(tmp_path):
    """The weights say what the numbers were trained to mean; the architecture says in which words."""
    layer = {"class_name": "LSTM", "config": {"name": "lstm", "output_dim": 2, "inner_activation": "hard_sigmoid"}}
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"class_name": "Sequential", "config": [layer], "keras_version": "1.2.2"}))
    weights = h5(tmp_path / "weights.h5", version="2.1.5")
    import h5py

    with h5py.File(weights, "r+") as file:
        del file.attrs["model_config"]
    graph = read(weights, architecture=path)
    assert graph.origin.era.value == "keras2"
    assert graph.model.layers[1].config["recurrent_activation"] == "hard_sigmoid"
    assert "the weights are from keras2 and the architecture from keras1" in graph.notes[0]
