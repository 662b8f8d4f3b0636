"""SavedModel folders against what the Keras that wrote them computed; and that nothing in them runs."""

import json
import shutil
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from wired import recorded, unpacked, wiring

import gateprobe
from gateprobe.errors import GateprobeError, ReadError, UnsafeFile, UnsupportedModel
from gateprobe.graph import Era
from gateprobe.model import opened
from gateprobe.opened_model import open_model
from gateprobe.readers.hdf5 import Budget
from gateprobe.readers.savedmodel import reader, variables


@pytest.fixture
def copied(tmp_path):
    """Return a function that copies a recorded SavedModel to where it may be damaged."""

    def copy(name):
        return shutil.copytree(unpacked() / name / "saved_model", tmp_path / name)

    return copy


@pytest.mark.parametrize("name", ["default", "impute", "gru", "mask", "all_steps", "stack"])
def test_a_decoder_is_replayed_from_what_the_functions_prove(name):
    inputs, outputs, _ = recorded(name)
    model = gateprobe.read(unpacked() / name / "saved_model")
    assert "(a TrainingSampler)" in opened(model).graph.notes[0]
    for ours, theirs in zip(model.predict(inputs).values(), outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_the_settings_of_a_decoder_are_read_off_its_loop():
    found = {name: gateprobe.read(unpacked() / name / "saved_model") for name in ("impute", "mask", "all_steps")}
    configs = {name: opened(model).record.layers[-1].config for name, model in found.items()}
    keys = ("impute_finished", "maximum_iterations", "lengths_from")
    assert {name: tuple(config[key] for key in keys) for name, config in configs.items()} == {
        "impute": (True, 5, "sequence_length"),
        "mask": (False, None, "mask"),
        "all_steps": (False, None, "timesteps"),
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("scheduled", "its sampler is not a TrainingSampler: the next input is not that of time"),
        ("greedy", "its sampler is not a TrainingSampler: a sequence does not end at time"),
        ("untraced", "no call of it is recorded"),
    ],
)
def test_a_decoder_whose_sampler_is_not_proven_is_refused_unless_the_user_says_it(name, reason, tmp_path):
    model = gateprobe.read(unpacked() / name / "saved_model")
    with pytest.raises(UnsupportedModel, match=rf"decoder \(BasicDecoder\): {reason}.*architecture"):
        opened(model).plan(outputs=True)
    assert open_model(unpacked() / name / "saved_model").plan(gateprobe.Selection(layers=("encoder",)))
    if name == "untraced":
        inputs, outputs, _ = recorded(name)
        (tmp_path / "wiring.json").write_text(json.dumps(wiring()))
        model = gateprobe.read(unpacked() / name / "saved_model", architecture=tmp_path / "wiring.json")
        np.testing.assert_allclose(model.predict(inputs)["decoder"], outputs[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("written", "changed"),
    [
        (b"ArgMax", b"ArgMin"),
        (b"LogicalOr", b"LogicalNo"),
        (b"GreaterEqual", b"NotEqualOrGt"),
        (b"TensorListGetItem", b"TensorListPopItem"),
        (b"TensorListFromTensor", b"TensorListFromTinsor"),
        (b"SelectV2", b"SelectV9"),
    ],
)
def test_a_loop_that_is_not_built_as_the_addons_build_it_proves_nothing(written, changed, copied):
    folder = copied("default")
    graph = (folder / "saved_model.pb").read_bytes()
    # only the operations, whose names follow the tag of NodeDef.op and their length
    tag = b"\x12" + bytes([len(written)])
    (folder / "saved_model.pb").write_bytes(graph.replace(tag + written, tag + changed))
    with pytest.raises(UnsupportedModel, match=r"decoder \(BasicDecoder\): its"):
        open_model(folder).plan(outputs=True)


def test_shared_nested_and_frozen_layers_get_their_own_weights():
    inputs, outputs, _ = recorded("plain")
    model = gateprobe.read(unpacked() / "plain" / "saved_model")
    assert opened(model).graph.origin.container == "savedmodel"
    assert (opened(model).graph.origin.era, opened(model).graph.origin.keras_version) == (Era.KERAS2, "2.12.0")
    for ours, theirs in zip(model.predict(inputs).values(), outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)
    traced = model.trace(inputs)
    both = np.concatenate([traced["both"].forward.hidden_state, traced["both"].backward.hidden_state], -1)
    np.testing.assert_allclose(both, outputs[1], rtol=0, atol=2e-6)
    np.testing.assert_allclose(traced["stack/cell_1"].hidden_state, outputs[2], rtol=0, atol=2e-6)
    assert {"each/layer/frozen", "gru"} <= set(traced)


def test_metadata_of_tensorflow_before_2_5_stands_in_the_graph_file(copied):
    folder = copied("plain")
    described = savedmodel_objects_of(folder)
    nodes = [b""] * (max(described) + 1)
    for number, item in described.items():
        nodes[number] = field(4, field(1, item.identifier.encode()) + field(3, json.dumps(item.value).encode()))
    objects = b"".join(field(1, node) for node in nodes)
    (folder / "keras_metadata.pb").unlink()
    (folder / "saved_model.pb").write_bytes(field(2, field(7, objects)))
    inputs, outputs, _ = recorded("plain")
    model = gateprobe.read(folder)
    assert opened(model).graph.origin.evidence == ("saved_model.pb says 2.12.0",)
    np.testing.assert_allclose(model.predict(inputs)["output"], outputs[0], rtol=0, atol=2e-6)


def savedmodel_objects_of(folder):
    from gateprobe.readers.savedmodel.objects import described_objects
    from gateprobe.readers.savedmodel.wire import parse

    return described_objects(parse((folder / "keras_metadata.pb").read_bytes(), "keras_metadata.pb"))


def field(number, value):
    """Encode one field that holds bytes."""
    length, size = len(value), b""
    while length > 0x7F:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + value


def test_reading_runs_nothing_and_loads_no_framework_here():
    folder = unpacked() / "default" / "saved_model"
    code = f"import sys, gateprobe; gateprobe.read({str(folder)!r}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "keras", "tf_keras", "google.protobuf"} & set(loaded)


def test_a_limit_on_bytes_holds_before_anything_is_read():
    with pytest.raises(UnsafeFile, match="the limit is 100"):
        gateprobe.read(unpacked() / "plain" / "saved_model", max_bytes=100)


def cut(file, size):
    file.write_bytes(file.read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: (f / "keras_metadata.pb").unlink(),
            "without Keras's own description.*save the model with model.save",
        ),
        (lambda f: cut(f / "keras_metadata.pb", 500), "keras_metadata.pb: is damaged or truncated"),
        (lambda f: (f / "keras_metadata.pb").write_bytes(field(1, field(5, b"{"))), "keras_metadata.pb: : is not JSON"),
        (lambda f: (f / "keras_metadata.pb").write_bytes(b"\xff" * 40), "is no protocol buffer"),
        (lambda f: (f / "variables" / "variables.index").unlink(), "variables/variables.index: there is no such file"),
        (lambda f: cut(f / "variables" / "variables.index", 50), "variables.index: is no index of variables"),
        (lambda f: cut(next(f.glob("variables/*data*")), 50), "the file with its bytes is truncated"),
        (lambda f: next(f.glob("variables/*data*")).unlink(), "data-00000-of-00001: there is no such file"),
        (
            lambda f: (f / "keras_metadata.pb").write_bytes(
                (f / "keras_metadata.pb")
                .read_bytes()
                .replace(b"root.layer_with_weights-2", b"root.layer_with_weights-3")
            ),
            "root.layer_with_weights-3: names another object.*left over from another save.*ignore_metadata=True",
        ),
    ],
)
def test_a_damaged_folder_gives_one_line(damage, message, copied):
    folder = copied("plain")
    damage(folder)
    with pytest.raises(ReadError, match=message) as caught:
        gateprobe.read(folder)
    assert "\n" not in str(caught.value)


@cache
def checkpoint():
    return variables.read_checkpoint(unpacked() / "default" / "saved_model", Budget(1 << 20))


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_graph_never_gives_a_traceback(seed, copied, monkeypatch):
    folder = copied("default")
    monkeypatch.setattr(reader, "read_checkpoint", lambda path, budget: checkpoint())
    random = np.random.default_rng(seed)
    data = bytearray((folder / "saved_model.pb").read_bytes())
    for _ in range(20):
        data[random.integers(len(data))] = random.integers(256)
    (folder / "saved_model.pb").write_bytes(data)
    inputs, outputs, _ = recorded("default")
    try:
        ours = gateprobe.read(folder).predict(inputs)
    except GateprobeError:
        return
    np.testing.assert_allclose(ours["decoder"], outputs[0], rtol=0, atol=2e-6)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_what_live_keras_saves_is_replayed(tmp_path):
    keras = pytest.importorskip("tf_keras", exc_type=ImportError)
    layers, random = keras.layers, np.random.default_rng(1)
    nested = keras.Sequential([layers.LSTM(3, return_sequences=True, name="lstm"), layers.Dropout(0.5)], name="nested")
    a, b = keras.Input([5, 3], name="a"), keras.Input([5, 3], name="b")
    first, second = nested(a), nested(b)
    joined = layers.Concatenate()([layers.Conv1D(3, 2, padding="same", name="conv")(first), second])
    both = layers.Bidirectional(layers.GRU(2, return_sequences=True), merge_mode="ave", name="both")(joined)
    last = layers.LSTM(4, go_backwards=True, recurrent_activation="hard_sigmoid", name="last")(both)
    model = keras.Model([a, b], [layers.Dense(2, name="output")(last), first, second, both])
    model.set_weights([random.normal(0, 0.7, weight.shape) for weight in model.get_weights()])
    model.save(tmp_path / "model", save_format="tf", save_traces=False)
    inputs = [random.normal(0, 1, (3, 5, 3)).astype(np.float32) for _ in range(2)]
    expected = [np.asarray(value) for value in model(inputs)]
    ours = gateprobe.read(tmp_path / "model")
    for mine, theirs in zip(ours.predict(inputs).values(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-6)
    traced = ours.trace(inputs)
    assert list(traced) == ["nested/lstm", "nested:1/lstm", "both", "last"]
    np.testing.assert_allclose(traced["nested/lstm"].hidden_state, expected[1], rtol=0, atol=2e-6)
    np.testing.assert_allclose(traced["nested:1/lstm"].hidden_state, expected[2], rtol=0, atol=2e-6)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_is_a_class_of_its_own_takes_its_graph_from_a_wiring(tmp_path):
    keras = pytest.importorskip("tf_keras", exc_type=ImportError)
    layers, random = keras.layers, np.random.default_rng(2)

    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.readers = [layers.LSTM(3, return_sequences=True, name="one"), layers.LSTM(3, name="two")]
            self.last = layers.Dense(2, name="last")

        def call(self, x):
            for layer in self.readers:
                x = layer(x)
            return self.last(x)

    model, x = Twice(), random.normal(0, 1, (3, 5, 3)).astype(np.float32)
    model(x)
    model.set_weights([random.normal(0, 0.7, weight.shape) for weight in model.get_weights()])
    model.save(tmp_path / "model", save_format="tf", save_traces=False)
    lone = gateprobe.read(tmp_path / "model")
    assert opened(lone).graph.model is None
    assert "is of the class Twice, code of the user's own" in opened(lone).graph.notes[0]
    written = {
        "gateprobe_wiring": 1,
        "inputs": {"x": {"shape": [5, 3]}},
        "layers": [
            {"name": "one", "class_name": "LSTM", "config": {"units": 3, "return_sequences": True}, "inputs": "x"},
            {"name": "second", "class_name": "LSTM", "config": {"units": 3}, "inputs": "one", "weights": "layers/two"},
            {"name": "last", "class_name": "Dense", "config": {"units": 2}, "inputs": "second"},
        ],
        "outputs": ["last"],
    }
    file = tmp_path / "wiring.json"
    file.write_text(json.dumps(written))
    with pytest.raises(ReadError, match=r"takes the weights of second from 'layers/two'.*layers/readers.1"):
        gateprobe.read(tmp_path / "model", architecture=file)
    written["layers"][1]["weights"] = "layers/readers.1"
    file.write_text(json.dumps(written))
    ours = gateprobe.read(tmp_path / "model", architecture=file).predict(x)["last"]
    np.testing.assert_allclose(ours, np.asarray(model(x)), rtol=0, atol=2e-6)


FILES = ["saved_model.pb", "keras_metadata.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]


@pytest.mark.parametrize("file", [*FILES, "variables"])
@pytest.mark.parametrize("outside", [True, False])
def test_a_link_leads_to_what_is_in_the_folder_or_nowhere(file, outside, copied, tmp_path):
    folder = copied("default")
    expected = open_model(folder).graph.origin.sha256
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "elsewhere" if outside else folder) / "moved"
    (folder / file).rename(moved)
    (folder / file).symlink_to(moved)
    if outside:
        with pytest.raises(UnsafeFile, match="is a link that leads out of the folder"):
            gateprobe.read(folder)
    else:
        assert open_model(folder).graph.origin.sha256 == expected


def test_a_folder_may_itself_be_reached_by_a_link(copied, tmp_path):
    folder = copied("default")
    (tmp_path / "link").symlink_to(folder)
    assert open_model(tmp_path / "link").graph.origin.sha256 == open_model(folder).graph.origin.sha256


def test_the_graph_file_stands_for_its_folder():
    folder = unpacked() / "plain" / "saved_model"
    assert gateprobe.read(folder / "saved_model.pb").recurrent_layers == gateprobe.read(folder).recurrent_layers


def test_a_description_left_over_from_another_save_can_be_ignored(copied):
    """TensorFlow before 2.5 wrote into a folder where a later one had left its own description."""
    folder = copied("plain")
    described = savedmodel_objects_of(folder)
    nodes = [b""] * (max(described) + 1)
    for number, item in described.items():
        nodes[number] = field(4, field(1, item.identifier.encode()) + field(3, json.dumps(item.value).encode()))
    (folder / "saved_model.pb").write_bytes(field(2, field(7, b"".join(field(1, node) for node in nodes))))
    other = unpacked() / "default" / "saved_model" / "keras_metadata.pb"
    (folder / "keras_metadata.pb").write_bytes(other.read_bytes())
    with pytest.raises(ReadError, match="left over from another save"):
        gateprobe.read(folder)
    inputs, outputs, _ = recorded("plain")
    model = gateprobe.read(folder, ignore_metadata=True)
    np.testing.assert_allclose(model.predict(inputs)["output"], outputs[0], rtol=0, atol=2e-6)


def test_without_any_description_the_weights_are_left():
    folder = unpacked() / "plain" / "saved_model"
    model, alone = gateprobe.read(folder), gateprobe.read(folder, ignore_metadata=True)
    assert opened(alone).graph.model is None
    whole = {array.value.tobytes() for array in every_array(opened(model).graph.weights.root)}
    assert whole <= {array.value.tobytes() for array in every_array(opened(alone).graph.weights.root)}
    assert alone.recurrent_layers


def every_array(group):
    yield from group.arrays
    for child in group.children.values():
        yield from every_array(child)


def test_only_a_savedmodel_has_metadata_to_ignore(tmp_path):
    with pytest.raises(ReadError, match="is no SavedModel; leave ignore_metadata=True out"):
        gateprobe.read(__file__, ignore_metadata=True)
