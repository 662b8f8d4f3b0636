"""HDF5 files that ask for something, are damaged, or store more than Keras ever did."""

import gc
import struct
import warnings

import h5py
import numpy as np
import pytest
from readers.build import add_layer, arrays, h5, lstm, sequential, tree

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.graph import WeightScheme
from gateprobe.readers import read

KERNEL = "model_weights/lstm/lstm/kernel:0"


def changed(path, change):
    """Write a good file, change it with h5py, and return its path."""
    with h5py.File(h5(path), "r+") as file:
        change(file)
    return path


def replaced(file, **how):
    del file[KERNEL]
    return file.create_dataset(KERNEL, **how)


def virtual(file):
    layout = h5py.VirtualLayout((3, 8), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (3, 8))
    del file[KERNEL]
    file.create_virtual_dataset(KERNEL, layout)


def link(make):
    def change(file):
        del file[KERNEL]
        file[KERNEL] = make(file)

    return change


def plugin_filter(file):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3, 8))
    plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    del file[KERNEL]
    space, group = h5py.h5s.create_simple((3, 8)), file["model_weights/lstm/lstm"]
    h5py.h5d.create(group.id, b"kernel:0", h5py.h5t.IEEE_F32LE, space, plist)


def committed(file):
    file["float"] = np.dtype("f4")
    replaced(file, shape=(3, 8), dtype=file["float"])[...] = 1


def odd_floats(file):
    """As one flipped bit in the description of a type makes them: HDF5 converts, and every weight is another."""
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(120)
    del file[KERNEL]
    group = file["model_weights/lstm/lstm"]
    dataset = h5py.h5d.create(group.id, b"kernel:0", kind, h5py.h5s.create_simple((3, 8)))
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones((3, 8), np.float32))


def missing_chunk(file):
    dataset = replaced(file, shape=(3, 8), dtype="f4", chunks=(2, 8), compression="gzip")
    dataset[:2] = 1


def names(value):
    def change(file):
        del file["model_weights/lstm"].attrs["weight_names"]
        file["model_weights/lstm"].attrs["weight_names"] = value

    return change


def config(value):
    def change(file):
        del file.attrs["model_config"]
        file.attrs["model_config"] = value

    return change


UNSAFE = {
    "soft link": (link(lambda file: h5py.SoftLink("/model_weights/lstm/lstm/bias:0")), "kernel:0: is a soft link"),
    "external link": (
        link(lambda file: h5py.ExternalLink("/etc/hostname", "/x")),
        "kernel:0: is a link to another file",
    ),
    "external storage": (
        lambda file: replaced(file, shape=(3, 8), dtype="f4", external=[("/etc/hostname", 0, 96)]),
        "kernel:0: keeps its numbers in another file",
    ),
    "virtual": (virtual, "kernel:0: is a virtual dataset"),
    "plugin": (plugin_filter, "kernel:0: needs the HDF5 filter 32015"),
    "committed": (committed, "kernel:0: has a committed datatype"),
    "committed in place": (
        link(lambda file: file.__setitem__("t", np.dtype("f4")) or file["t"]),
        "kernel:0: is a committed datatype",
    ),
    "declared, not stored": (lambda file: replaced(file, shape=(1 << 20, 1 << 20), dtype="f4"), "declares .* stores 0"),
    "bomb": (
        lambda file: replaced(file, shape=(17, 1 << 20), dtype="f4", chunks=(17, 1 << 20), compression=1).__setitem__(
            (0, 0), 1
        ),
        "kernel:0: would unpack",
    ),
    "absolute name": (names([b"/model_weights/lstm/lstm/bias:0"]), "leads out of its group"),
    "parent": (names([b"../lstm/lstm/bias:0"]), "leads out of its group"),
}
BROKEN = {
    "odd floats": (odd_floats, "kernel:0: holds floats that are not those of IEEE 754"),
    "missing chunk": (missing_chunk, "kernel:0: stores 1 of its 2 chunks"),
    "integers": (lambda file: replaced(file, data=np.ones((3, 8), np.int32)), "kernel:0: holds integers"),
    "unmarked 16-bit": (lambda file: replaced(file, data=np.ones((3, 8), np.uint16)), "kernel:0: holds integers"),
    "complex": (lambda file: replaced(file, data=np.ones((3, 8), np.complex64)), "kernel:0: holds complex"),
    "texts": (lambda file: replaced(file, data=np.full((3, 8), b"1")), "kernel:0: holds texts"),
    "objects": (lambda file: replaced(file, data=["a", "b"], dtype=h5py.string_dtype()), "kernel:0: holds objects"),
    "references": (
        lambda file: replaced(file, data=np.full(2, file["model_weights"].ref, h5py.ref_dtype), dtype=h5py.ref_dtype),
        "kernel:0: holds objects or references",
    ),
    "group": (link(lambda file: file.create_group("elsewhere")), "lists 'lstm/kernel:0', and there is no such array"),
    "empty": (lambda file: replaced(file, data=h5py.Empty("f4")), "kernel:0: has no shape"),
    "missing array": (lambda file: file.pop(KERNEL), "lists 'lstm/kernel:0', and there is no such array"),
    "missing group": (lambda file: file.pop("model_weights/lstm"), "lists 'lstm', and there is no such group"),
    "one name twice": (names([b"lstm/bias:0", b"lstm/bias:0"]), "lists one name twice"),
    "names are numbers": (names([1, 2]), "attribute weight_names: is not text"),
    "no weight names": (
        lambda file: file["model_weights/lstm"].attrs.pop("weight_names"),
        "has no attribute weight_names",
    ),
    "no layer names": (lambda file: file["model_weights"].attrs.pop("layer_names"), "not a Keras file"),
    "names are a table": (names([[b"a"], [b"b"]]), "attribute weight_names: is not a list of names"),
    "one layer twice": (
        lambda file: file["model_weights"].attrs.create("layer_names", [b"lstm", b"lstm"]),
        "layer_names lists 'lstm' twice",
    ),
    "layer is an array": (
        lambda file: (file.pop("model_weights/lstm"), file.create_dataset("model_weights/lstm", data=1.0)),
        "lstm: is an array where a group belongs",
    ),
    "config is nothing": (config(h5py.Empty(h5py.string_dtype())), "model_config: is not JSON"),
    "32 dimensions": (lambda file: replaced(file, data=np.ones((1,) * 17)), "kernel:0: has 17 dimensions"),
    "no weights": (lambda file: file.pop("model_weights"), "has an architecture and no weights"),
    "config is an array": (config(np.arange(3)), "model_config: is not text"),
    "config is many texts": (config([b"a", b"b"]), "model_config: holds 2 texts"),
    "config is not UTF-8": (config(np.bytes_(b'{"class_name": "\xff"}')), "not UTF-8 text"),
    "version of the future": (lambda file: file.attrs.modify("keras_version", "4.0.0"), "is from Keras '4.0.0'"),
    "version of the past": (lambda file: file.attrs.modify("keras_version", "0.3.3"), "is from Keras '0.3.3'"),
    "version is a joke": (lambda file: file.attrs.modify("keras_version", "two"), "is from Keras 'two'"),
}


@pytest.mark.parametrize("how", UNSAFE)
def test_refuses_what_a_data_file_must_not_ask_for(tmp_path, how):
    change, message = UNSAFE[how]
    with pytest.raises(UnsafeFile, match=message) as caught:
        read(changed(tmp_path / "model.h5", change))
    assert caught.value.file == str(tmp_path / "model.h5")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", BROKEN)
def test_names_what_is_broken(tmp_path, how):
    change, message = BROKEN[how]
    with pytest.raises(ReadError, match=message) as caught:
        read(changed(tmp_path / "model.h5", change))
    assert not isinstance(caught.value, UnsafeFile)
    assert str(caught.value).startswith(str(tmp_path / "model.h5"))


def test_budget_is_spent_before_memory_is(tmp_path):
    path = h5(tmp_path / "model.h5")
    assert read(path, max_bytes=192).weights.root.children["lstm"].arrays[2].value.shape == (8,)
    with pytest.raises(UnsafeFile, match=r"bias:0: the arrays up to this one need 192 bytes; the limit is 191"):
        read(path, max_bytes=191)


@pytest.mark.parametrize("keep", [0, 40, 96, 2000, -1])
def test_truncated(tmp_path, keep):
    path = h5(tmp_path / "model.h5")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ReadError, match=r"is empty|is damaged or truncated"):
        read(path)


@pytest.mark.parametrize(("number", "length"), [(0, 0), (9, (1 << 64) - 16), (9, 1 << 63)])
def test_heap_without_end(tmp_path, number, length):
    """libhdf5 1.14 never returns from such a heap."""
    path = h5(tmp_path / "model.h5")
    data = bytearray(path.read_bytes())
    struct.pack_into("<H6xQ", data, data.index(b"GCOL") + 16, number, length)
    path.write_bytes(data)
    with pytest.raises(ReadError, match="a heap of texts holds an object of impossible size"):
        read(path)


def test_letters_of_a_heap_inside_an_array_are_no_heap(tmp_path):
    kernel = np.frombuffer(b"GCOL" + b"\x02" + bytes(91), np.float32).reshape(3, 8)
    path = h5(tmp_path / "model.h5", layers={"lstm": {**arrays(), "kernel": kernel}})
    np.testing.assert_array_equal(read(path).weights.root.children["lstm"].arrays[0].value, kernel)


@pytest.mark.parametrize("block", [512, 4096])
def test_user_block_trailing_bytes_and_any_suffix(tmp_path, block):
    path = h5(tmp_path / "model.h5")
    other = tmp_path / "model.keras"
    other.write_bytes(bytes(block) + path.read_bytes() + b"junk")
    assert read(other).origin.container == "hdf5"


def test_values_are_native_read_only_and_exact(tmp_path):
    values = {"be64": ">f8", "le32": "<f4", "half": "<f2"}
    layers = {"lstm": {name: np.array([1.5, -2.25, 1e-3]).astype(dtype) for name, dtype in values.items()}}
    found = read(h5(tmp_path / "model.h5", layers=layers)).weights.root.children["lstm"].arrays
    assert [array.name for array in found] == [f"model_weights/lstm/lstm/{name}:0" for name in values]
    for array, (name, dtype) in zip(found, values.items(), strict=True):
        assert array.value.dtype == np.dtype(dtype).newbyteorder("=")
        assert array.value.dtype.isnative
        np.testing.assert_array_equal(array.value, layers["lstm"][name])
        with pytest.raises(ValueError, match="read-only"):
            array.value[0] = 0


@pytest.mark.parametrize("how", [{"compression": "gzip", "shuffle": True, "fletcher32": True}, {"compression": "lzf"}])
def test_repacked_files(tmp_path, how):
    """Keras never compresses, but h5repack does."""
    path = changed(tmp_path / "model.h5", lambda file: replaced(file, data=arrays()["kernel"], **how))
    np.testing.assert_array_equal(read(path).weights.root.children["lstm"].arrays[0].value, np.ones((3, 8)))


@pytest.mark.parametrize("marked", [True, False])
def test_bfloat16(tmp_path, marked):
    """As 16-bit integers that are marked, or as the opaque values that ml_dtypes makes of them."""
    exact = np.array([[1.0, -2.5, 0.15625]], np.float32)
    bits = (exact.view(np.uint32) >> 16).astype(np.uint16)

    def change(file):
        dataset = replaced(file, data=bits if marked else bits.view("V2"))
        if marked:
            dataset.attrs["dtype"] = "bfloat16"

    found = read(changed(tmp_path / "model.h5", change)).weights.root.children["lstm"].arrays[0].value
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, exact)


def test_long_lists_of_names_are_split(tmp_path):
    """``save_attributes_to_hdf5_group`` writes weight_names0, weight_names1, ... above 64 KB."""

    def change(file):
        del file["model_weights/lstm"].attrs["weight_names"]
        file["model_weights/lstm"].attrs["weight_names0"] = [b"lstm/bias:0"]
        file["model_weights/lstm"].attrs["weight_names1"] = [b"lstm/kernel:0"]

    found = read(changed(tmp_path / "model.h5", change)).weights.root.children["lstm"].arrays
    assert [array.value.ndim for array in found] == [1, 2]


def test_counter_is_kept_but_states_of_random_generators_are_not(tmp_path):
    layers = {"lstm": {**arrays(), "count": np.int64(7)}}
    assert read(h5(tmp_path / "model.h5", layers=layers)).weights.root.children["lstm"].arrays[3].value == 7
    with h5py.File(tmp_path / "tree.h5", "w") as file:
        seed = {"seed_generator": [np.ones(2, np.uint32)]}
        tree(file, {"layers": {"dropout": seed, "dense": [np.ones(2)]}, "optimizer": [np.ones(2, np.int64)]})
    root = read(tmp_path / "tree.h5").weights.root
    assert list(root.children) == ["layers"]
    assert not root.children["layers"].children["dropout"].children


@pytest.mark.parametrize(("attributes", "message"), [({"nb_layers": 3}, "Keras 0.x"), ({}, "not a Keras file.*inputs")])
def test_other_hdf5(tmp_path, attributes, message):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["inputs"] = np.ones(3)
        file.attrs.update(attributes)
    with pytest.raises(ReadError, match=message):
        read(tmp_path / "model.h5")


@pytest.mark.parametrize(
    ("weights", "era", "evidence"),
    [
        ({f"lstm_{w}_{g}": np.ones((2, 2) if w != "b" else 2) for g in "icfo" for w in "WUb"}, "keras1", "each gate"),
        ({f"param_{n}": np.ones(2 if n % 3 == 2 else (2, 2)) for n in range(12)}, "keras1", "twelve arrays"),
        ({"dense_W": np.ones((2, 2))}, "keras1", "called W, U and b"),
        ({"kernel": np.ones((2, 2))}, "keras2", "end in ':0'"),
        ({"a/kernel": np.ones((2, 2))}, "keras3", "without ':0'"),
    ],
)
def test_era_of_weights_alone(tmp_path, weights, era, evidence):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs["layer_names"] = [b"layer"]
        add_layer(file, "layer", weights, suffix="" if era == "keras3" else ":0")
    graph = read(tmp_path / "weights.h5")
    assert (graph.origin.era.value, graph.model) == (era, None)
    assert any(evidence in sentence for sentence in graph.origin.evidence)
    assert any("--architecture" in note for note in graph.notes)


@pytest.mark.parametrize(
    ("config", "era"),
    [
        (sequential(lstm(recurrent_activation="sigmoid")), "keras2"),
        ({"class_name": "Sequential", "config": [lstm(output_dim=2, inner_activation="tanh")]}, "keras1"),
        (sequential(lstm(batch_shape=[None, 5, 3])), "keras3"),
    ],
)
def test_era_of_configuration_alone(tmp_path, config, era):
    origin = read(h5(tmp_path / "model.h5", config, version=None)).origin
    assert origin.era.value == era
    assert origin.evidence[0] == "no version is recorded"


def test_no_era_is_guessed(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs["layer_names"] = [b"layer"]
        file.create_group("layer").attrs["weight_names"] = []
    with pytest.raises(ReadError, match="nothing in the file tells which Keras wrote it"):
        read(tmp_path / "weights.h5")


def test_hard_linked_groups_end(tmp_path):
    """Each of 64 levels names the next one twice: 2^64 paths."""
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        group = file.create_group("layers")
        for _ in range(64):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner
    with pytest.raises(UnsafeFile, match="occurs twice in the file, or too deep in it"):
        read(tmp_path / "model.weights.h5")


def test_numbering_of_variables(tmp_path):
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        tree(file, {"layers": {"dense": [np.full(1, n, np.float32) for n in range(12)]}})
    dense = read(tmp_path / "model.weights.h5").weights.root.children["layers"].children["dense"]
    assert [array.value.item() for array in dense.arrays] == list(range(12))
    with h5py.File(tmp_path / "model.weights.h5", "r+") as file:
        del file["layers/dense/vars/3"]
    with pytest.raises(ReadError, match=r"/layers/dense/vars: the arrays are numbered .*one is missing"):
        read(tmp_path / "model.weights.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.move("layers/dense/vars/1", "layers/dense/vars/01"), "an array's number has leading zeros"),
        (lambda file: file.create_group("layers/dense/vars/2"), "vars/2: is a group where an array belongs"),
        (lambda file: tree(file, {"_layers": {"dense": [np.ones(2)]}}), "layers and _layers both hold dense"),
        (lambda file: file.create_dataset("layers/lstm", data=1.0), "/layers/lstm: is an array where a group belongs"),
        (lambda file: file["layers/dense/vars"].attrs.create("name", 7), "attribute name: is not text"),
    ],
)
def test_broken_trees(tmp_path, change, message):
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        tree(file, {"layers": {"dense": [np.ones((2, 2)), np.ones(2)]}})
        change(file)
    with pytest.raises(ReadError, match=message):
        read(tmp_path / "model.weights.h5")


def test_custom_names_of_variables_come_last(tmp_path):
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        tree(file, {"layers": {"dense": [np.ones(2)]}})
        file["layers/dense/vars/a scale"] = np.zeros(3)
    dense = read(tmp_path / "model.weights.h5").weights.root.children["layers"].children["dense"]
    assert [array.name for array in dense.arrays] == ["layers/dense/vars/0", "layers/dense/vars/a scale"]


def test_layers_counted_twice_by_keras_2_13_on_windows(tmp_path):
    """Real names: ``_layer_checkpoint_dependencies\\dense_2``, each layer with weights counted twice."""
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file.create_group("vars")
        for number, name in enumerate(["dense", "dense_2", "dense_4", "dense_10"]):
            tree(file, {f"_layer_checkpoint_dependencies\\{name}": [np.full(1, number, np.float32)]})
    graph = read(tmp_path / "model.weights.h5")
    dense = graph.weights.root.children["layers"].children
    assert {name: int(group.arrays[0].value.item()) for name, group in dense.items()} == {
        "dense": 0, "dense_1": 1, "dense_2": 2, "dense_3": 3,
    }  # fmt: skip
    assert (graph.weights.scheme, graph.origin.era.value) == (WeightScheme.OBJECT_PATHS, "keras2")


def test_names_of_objects(tmp_path):
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        tree(file, {"layers": {"dense": [np.ones(2)]}})
        file["layers/dense/vars"].attrs["name"] = "out"
    graph = read(tmp_path / "model.weights.h5")
    assert graph.weights.root.children["layers"].children["dense"].name == "out"
    assert graph.origin.evidence[1] == "objects carry their names (Keras 3.7 or later)"


def test_failures_leave_no_file_open(tmp_path):
    path = changed(tmp_path / "model.h5", UNSAFE["virtual"][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            with pytest.raises(UnsafeFile):
                read(path)
        gc.collect()
    path.unlink()


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_text_that_claims_to_be_long(tmp_path, version):
    """libhdf5 allocates what one wrong byte asks for before it looks whether the text is there."""
    with h5py.File(tmp_path / "weights.h5", "w", libver=version) as file:
        file.attrs["layer_names"] = [b"layer"]
        add_layer(file, "layer", {"kernel": np.ones(2)})
        file.attrs["keras_version"] = "2.2.4"
    data = bytearray((tmp_path / "weights.h5").read_bytes())
    heap = struct.pack("<Q", data.index(b"GCOL"))
    struct.pack_into("<I", data, data.index(heap, data.index(b"keras_version")) - 4, 3 << 30)
    (tmp_path / "weights.h5").write_bytes(data)
    with pytest.raises(ReadError, match=r"keras_version: 3,221,225,4.. bytes of text|damaged"):
        read(tmp_path / "weights.h5")


@pytest.mark.parametrize("many", [False, True])
def test_texts_of_variable_length_as_other_tools_write_them(tmp_path, many):
    """Eight attributes at most lie in the object's header; more move elsewhere in files of the latest version."""
    with h5py.File(tmp_path / "weights.h5", "w", libver="latest") as file:
        file.attrs["layer_names"] = ["layer", "other"]
        add_layer(file, "layer", {"kernel": np.ones(2)})
        add_layer(file, "other", {"kernel": np.ones(3)})
        file.attrs["keras_version"] = "2.2.4"
        file.attrs.update({f"more {n}": "x" for n in range(20 if many else 0)})
    assert list(read(tmp_path / "weights.h5").weights.root.children) == ["layer", "other"]
