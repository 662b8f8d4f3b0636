"""Keras never gets a file's own bytes: what it gets is one container, made of checked parts."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from readers import build
from verify import attacks

from gateprobe.cli import main
from gateprobe.errors import ReadError
from gateprobe.opened_model import open_model
from gateprobe.verification import clean_copy, job
from gateprobe.verification.run import verify

SAMPLES = Path(__file__).parents[2] / "sample_models"


def copied(file, folder, architecture=None, limit=1 << 30):
    folder.mkdir()
    return clean_copy.clean_copy(str(file), architecture and str(architecture), folder, limit)


# --- two containers


def polyglots(folder):
    evil, clean = attacks.evil_h5(folder), attacks.clean_h5(folder)
    content = attacks.keras2_members()
    for offset in (512, 1024, 2048, 16384):
        name = f"behind_{offset}"
        yield name, attacks.zip_with_h5_behind(folder / f"{name}.h5", offset, evil, content)
        yield f"{name}_keras", attacks.zip_with_h5_behind(folder / f"{name}.keras", offset, evil, content)
    yield "in_front", attacks.h5_with_zip_in_front(folder / "in_front.h5", folder, content)
    code = build.sequential(build.lstm(), attacks.lambda_layer(folder))
    for suffix in ("keras", "h5", "model"):
        name = f"at_the_end.{suffix}"
        yield name, attacks.h5_with_zip_behind(folder / name, clean, build.members(config=json.dumps(code).encode()))
    block = attacks.with_user_block(build.tree_bytes(), 512, b"PK\x03\x04")
    yield "inner", build.keras(folder / "inner.keras", weights=block)


@pytest.mark.parametrize("number", range(13))
def test_a_file_that_is_two_containers_is_told_by_inspect_and_refused_by_verify(tmp_path, monkeypatch, number):
    monkeypatch.setattr(job, "_run", lambda *_: pytest.fail("Keras was started"))
    name, path = list(polyglots(tmp_path))[number]
    told = "begins with something else" if name == "inner" else "two containers"
    assert any(told in note for note in open_model(path).graph.notes), name
    with pytest.raises(ReadError, match=told):
        verify(path)
    done = CliRunner().invoke(main, ["inspect", str(path)])
    assert told in done.stdout + done.stderr


def test_all_polyglots_are_tried(tmp_path):
    assert len(list(polyglots(tmp_path))) == 13


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("zip.h5", "3.9.0", True),
        ("zip.hdf5", "2.15.0", True),
        ("h5.keras", "3.9.0", True),
        ("h5.keras", "2.4.0", False),  # as tf.keras up to 2.11 wrote it
        ("h5.model", "3.9.0", False),
        ("zip", "3.9.0", False),
    ],
)
def test_a_suffix_that_says_another_container(tmp_path, monkeypatch, name, version, told):
    monkeypatch.setattr(job, "_run", lambda *_: pytest.fail("Keras was started"))
    metadata = json.dumps({"keras_version": version}).encode()
    is_zip = name.startswith("zip")
    path = build.keras(tmp_path / name, metadata=metadata) if is_zip else build.h5(tmp_path / name, version=version)
    assert any("the suffix" in note for note in open_model(path).graph.notes) == told
    if told:
        with pytest.raises(ReadError, match="the suffix"):
            verify(path)


def test_the_weights_of_a_zip_may_begin_where_hdf5_is_looked_for(tmp_path):
    """A ``.keras`` stores its weights as they are; that they begin at 1,024 makes no second container of them."""
    path = tmp_path / "model.keras"
    content = build.members()
    with zipfile.ZipFile(path, "w") as file:
        for name in ("metadata.json", "config.json"):
            file.writestr(name, content[name])
        info = zipfile.ZipInfo("model.weights.h5")
        file.fp.seek(0, os.SEEK_END)
        padding = 2048 - file.fp.tell() - 30 - len(info.filename) - 4
        info.extra = b"\xfe\xca" + padding.to_bytes(2, "little") + bytes(padding)
        file.writestr(info, content["model.weights.h5"])
    assert path.read_bytes()[2048:].startswith(b"\x89HDF")
    assert open_model(path).graph.notes == open_model(build.keras(tmp_path / "plain.keras")).graph.notes


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_the_lambda_of_a_polyglot_runs_in_keras_and_not_in_verify(in_process, tmp_path):
    """The attack is one: tf_keras, given the file itself, runs the code."""
    path = attacks.h5_with_zip_in_front(tmp_path / "model.h5", tmp_path, attacks.keras2_members())
    mark = tmp_path / attacks.MARK
    with pytest.raises(ReadError, match="two containers"):
        verify(path, against="tf_keras")
    assert not mark.exists()
    in_process["tf_keras"].models.load_model(path, compile=False)
    assert mark.exists()


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_an_inner_model_is_never_compiled(in_process, tmp_path, monkeypatch):
    """Keras 3 carries out the compile_config of an inner model, although nothing is to be compiled."""
    keras, compiled = in_process["keras3"], []
    monkeypatch.setattr(keras.Sequential, "compile_from_config", lambda _, config: compiled.append(config))
    loss = {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"}
    path = attacks.nested(keras, tmp_path / "model.keras", compile_config={"optimizer": "sgd", "loss": loss})
    result = verify(path)
    assert (result.status.value, result.built_because, compiled) == ("agrees", None, [])
    keras.models.load_model(path, compile=False, safe_mode=True)
    assert compiled[0]["loss"] == loss


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("module", ["builtins", "marking_module"])
def test_a_regularizer_that_is_a_function_is_never_looked_up(in_process, tmp_path, monkeypatch, module):
    (tmp_path / "marking_module.py").write_text(f"open({str(tmp_path / attacks.MARK)!r}, 'w')\nprint = print\n")
    monkeypatch.syspath_prepend(tmp_path)
    function = {"module": module, "class_name": "function", "config": "print", "registered_name": "print"}
    path = build.keras(tmp_path / "model.keras", attacks.keras2_members(attacks.layer(kernel_regularizer=function)))
    result = verify(path)
    assert result
    assert "function 'print'" in result.built_because
    assert not (tmp_path / attacks.MARK).exists()


# --- what is in the copy


def content(path):
    """Return everything in an HDF5 file: arrays as bytes, attributes with their types, names in order."""
    found = {}

    def attributes(item):
        return {
            name: (h5py.h5a.open(item.id, name.encode()).dtype, np.asarray(value).tolist())
            for name, value in sorted(item.attrs.items())
        }

    def visit(group, path):
        found[path] = (list(group), attributes(group))
        for name, child in group.items():
            if isinstance(child, h5py.Group):
                visit(child, f"{path}/{name}")
            else:
                value = child[()].tobytes()
                found[f"{path}/{name}"] = (child.shape, child.dtype, value, attributes(child))

    with h5py.File(path, "r") as file:
        visit(file, "")
    return found


def test_every_array_and_attribute_is_copied_as_it_is(tmp_path):
    path = build.h5(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        file.attrs["training_config"] = "{}"
        file.attrs["other"] = [1, 2]
        file.create_group("optimizer_weights").create_dataset("x", data=1.0)
        ordered = file["model_weights"].create_group("ordered", track_order=True)
        for name in "cab":
            ordered.create_dataset(name, data=np.arange(3, dtype=">f8"), chunks=(2,), compression="gzip")
        ordered.attrs["weight_names"] = np.array([b"c", b"a"])
        ordered.attrs["empty"] = []
        ordered.attrs["nothing"] = h5py.Empty("f4")
        ordered["c"].attrs["dtype"] = "bfloat16"
        ordered.create_dataset("half", data=np.arange(4, dtype=np.uint16).view("V2"))
        ordered.create_dataset("flag", data=True)
        ordered.create_dataset("none", data=np.zeros((0, 3), np.float32))
    new, old = content(copied(path, tmp_path / "copy").file), content(path)
    assert new["/model_weights/ordered"][0] == ["c", "a", "b", "half", "flag", "none"]
    for items in (old[""][0], old[""][1]):
        for name in ("optimizer_weights", "training_config", "model_config"):
            if isinstance(items, list) and name in items:
                items.remove(name)
            elif isinstance(items, dict):
                items.pop(name, None)
    written = new[""][1].pop("model_config")[1]
    assert json.loads(written) == build.sequential(build.lstm())
    assert new == {key: value for key, value in old.items() if not key.startswith("/optimizer_weights")}


def test_a_zip_is_made_of_three_members_and_nothing_else(tmp_path):
    secret = b"secret bytes of the file itself"
    content_of = build.members(metadata=b'{"keras_version": "3.9.0", "other": [1]}', weights=build.tree_bytes())
    config = json.loads(content_of["config.json"])
    config["compile_config"] = {"loss": "secret bytes"}
    config["config"]["layers"][0]["compile_config"] = {"loss": "secret bytes"}
    content_of |= {"config.json": json.dumps(config).encode(), "assets/x": secret, "model.py": secret}
    made = copied(build.keras(tmp_path / "model.keras", content_of), tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["model.keras"]
    assert b"secret" not in made.file.read_bytes()
    with zipfile.ZipFile(made.file) as file:
        assert file.namelist() == ["config.json", "metadata.json", "model.weights.h5"]
        assert json.loads(file.read("metadata.json")) == {"keras_version": "3.9.0"}
        (tmp_path / "new.h5").write_bytes(file.read("model.weights.h5"))
    (tmp_path / "old.h5").write_bytes(content_of["model.weights.h5"])
    assert content(tmp_path / "new.h5") == content(tmp_path / "old.h5")


@pytest.mark.parametrize(("names", "suffix"), [(["lstm"], "weights.h5"), (None, "model.weights.h5")])
def test_weights_get_the_suffix_by_which_keras_tells_their_scheme(tmp_path, names, suffix):
    path, arch = tmp_path / "any.weights.h5", tmp_path / "arch.json"
    path.write_bytes(build.tree_bytes())
    if names:
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = names
            build.add_layer(file, "lstm", build.arrays())
    arch.write_text(json.dumps({**build.sequential(build.lstm()), "training_config": 3}))
    made = copied(path, tmp_path / "copy", arch)
    assert made.file.name == suffix
    assert json.loads(made.architecture.read_text()) == build.sequential(build.lstm())
    assert content(made.file) == content(path)


def bad(file, what):
    weights = file["model_weights"]
    if what == "soft":
        weights["other"] = h5py.SoftLink("/model_weights/lstm")
    elif what == "external":
        weights["other"] = h5py.ExternalLink("/etc/passwd", "/")
    elif what == "hard":
        weights["lstm/again"] = weights
    elif what == "texts":
        weights.create_dataset("other", data="text")
    elif what == "reference":
        weights.attrs["other"] = weights.ref
    elif what == "type":
        weights["other"] = np.dtype("f4")
    elif what == "virtual":
        layout = h5py.VirtualLayout((2,), "f4")
        layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (2,))
        weights.create_virtual_dataset("other", layout)
    elif what == "storage":
        weights.create_dataset("other", shape=(2,), dtype="f4", external=[("/etc/passwd", 0, 8)])
    elif what == "large":
        weights.create_dataset("other", shape=(1 << 40,), chunks=(1 << 20,), dtype="f4")
    elif what == "missing":
        weights.create_dataset("other", shape=(1 << 20,), chunks=(1 << 10,), dtype="f4")
    elif what == "twice":
        weights["other"] = weights["lstm/lstm/kernel:0"]
    elif what == "compound":
        weights.create_dataset("other", data=np.zeros(2, "f4,f4"))


@pytest.mark.parametrize(
    "what",
    [
        "soft",
        "external",
        "hard",
        "texts",
        "reference",
        "type",
        "virtual",
        "storage",
        "large",
        "compound",
        "missing",
        "twice",
    ],
)
def test_what_is_not_plain_is_never_copied(tmp_path, what):
    path = build.h5(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        bad(file, what)
    with pytest.raises(clean_copy.Unfit):
        copied(path, tmp_path / "copy")


def test_what_is_given_beside_a_whole_model_is_never_mixed_up_with_its_own(tmp_path):
    """A wiring file says how the layers of a whole model are connected; Keras would read the model's own graph."""
    (tmp_path / "wiring.json").write_text('{"gateprobe_wiring": 1}')
    for path in (build.h5(tmp_path / "model.h5"), build.keras(tmp_path / "model.keras")):
        with pytest.raises(clean_copy.Unfit, match="connected by something else"):
            copied(path, tmp_path / path.suffix[1:], tmp_path / "wiring.json")


def test_memory_is_that_of_one_array(tmp_path):
    """Twelve arrays of 8 MiB are copied in less than four of them."""
    path = build.h5(tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        for number in range(12):
            file["model_weights"].create_dataset(f"x{number}", data=np.ones(1 << 20))
    code = (
        "import resource, sys; from pathlib import Path; from gateprobe.verification.clean_copy import clean_copy; "
        "size = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; import h5py; before = size(); "
        "clean_copy(sys.argv[1], None, Path(sys.argv[2]), 1 << 30); print(size() - before)"
    )
    (tmp_path / "copy").mkdir()
    done = subprocess.run([sys.executable, "-c", code, path, tmp_path / "copy"], capture_output=True, check=True)
    assert int(done.stdout) < 32 << 10


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_keras_gets_the_copy_and_never_the_file(in_process, tmp_path, monkeypatch):
    from gateprobe.verification import oracle

    given = []

    def loaded(library, file, architecture, load=oracle.load_native):
        assert Path(file).exists()
        given.append(file)
        return load(library, file, architecture)

    monkeypatch.setattr(oracle, "load_native", loaded)
    assert verify(SAMPLES / "keras2.h5").built_because is None
    assert verify(SAMPLES / "brackets.keras").built_because is None
    assert [Path(path).name for path in given] == ["model.h5", "model.keras"]
    assert not any(SAMPLES in Path(path).parents for path in given)
    assert not any(Path(path).exists() for path in given)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_a_savedmodel_is_never_given_to_keras(in_process, monkeypatch, tmp_path):
    from gateprobe.verification import oracle

    keras, folder = in_process["tf_keras"], tmp_path / "saved"
    keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(2)]).save(folder, save_format="tf")

    monkeypatch.setattr(oracle, "load_native", lambda *_: pytest.fail("Keras was given something"))
    result = verify(folder)
    assert result
    assert "savedmodel" in result.built_because


def test_the_copy_has_the_limit_of_the_reading(tmp_path):
    path = build.h5(tmp_path / "model.h5")
    with pytest.raises(clean_copy.Unfit, match="the limit is 100"):
        copied(path, tmp_path / "copy", limit=100)


def test_where_no_copy_can_be_made_keras_is_told_to_build_the_model_and_why(tmp_path):
    path = build.h5(tmp_path / "model.h5")
    asked = {"keras": "tf_keras", "backend": "tensorflow", "objects": (), "inputs": (), "runs": (), "blueprint": {}}

    def handed(name, **more):
        made = job.Job(**{**asked, "file": str(path), "architecture": None, "build_because": None, **more})
        return job._handed(made, tmp_path / name)

    given, why = handed("whole", max_bytes=1 << 20)
    assert given.file.name == "model.h5"
    assert why is None
    given, why = handed("small", max_bytes=100)
    assert given is None
    assert "the limit is 100" in why
    assert handed("never", max_bytes=1 << 20, build_because="it is asked to") == (None, "it is asked to")
