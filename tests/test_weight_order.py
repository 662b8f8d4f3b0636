"""The order of weights in HDF5 when parts are frozen, against what the real Keras computed (``tests/data/order``)."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from graphs import changed

from gateprobe.cli import main
from gateprobe.errors import GateprobeWarning, InputError, UnsupportedModel
from gateprobe.graph import Era, LayerRecord, Origin, WeightArray, WeightGroup
from gateprobe.layers.binding.weight_names import exchanged
from gateprobe.model import opened, read
from gateprobe.readers.weights_only import Assumptions
from gateprobe.semantics import WeightOrder, semantics_of

ORDER = Path(__file__).parent / "data" / "order"
OUTPUTS = dict(np.load(ORDER / "outputs.npz"))
X = OUTPUTS["x"]
OPENED = sorted(name.partition("/")[0] for name in OUTPUTS if name.endswith("/opened"))


def computed(model):
    return next(iter(model.predict(X).values()))


def said(model):
    return [note for note in model.notes if "contradict their order" in note]


@pytest.mark.parametrize("name", OPENED)
@pytest.mark.filterwarnings("ignore::gateprobe.errors.GateprobeWarning")
def test_weights_are_read_as_keras_reads_them_and_a_note_says_when_that_exchanges_them(name):
    model = read(ORDER / f"{name}.h5")
    opened, trained = OUTPUTS[f"{name}/opened"], OUTPUTS[f"{name}/trained"]
    np.testing.assert_allclose(computed(model), opened, atol=1e-5)
    exchanged = np.abs(opened - trained).max() > 1e-5
    assert bool(said(model)) == exchanged


def test_keras_exchanges_weights_of_some_files():
    exchanged = {name for name in OPENED if np.abs(OUTPUTS[f"{name}/opened"] - OUTPUTS[f"{name}/trained"]).max() > 0.01}
    assert {"tf_keras_frozen_forward_layer", "tf_keras_thawed_inside_a_nested_model"} <= exchanged
    assert "tf_keras_thawed_last_layer" not in exchanged


NEIGHBOURS = [
    ("keras_2_2_4", WeightOrder.TF_KERAS),
    ("tf_keras", WeightOrder.STANDALONE),
    ("tf_keras", WeightOrder.BY_OWNER),
    ("keras3", WeightOrder.TF_KERAS),
]


@pytest.mark.parametrize(("writer", "other"), NEIGHBOURS)
@pytest.mark.filterwarnings("ignore::gateprobe.errors.GateprobeWarning")
def test_on_each_side_of_a_change_some_file_shows_the_order(writer, other):
    """As ``tests/test_rules.py`` asks of the other rules."""
    wrong = []
    for name in OPENED:
        if name.startswith(writer):
            model = read(ORDER / f"{name}.h5")
            taken = changed(model, semantics=replace(opened(model).semantics, weight_order=other))
            if not np.allclose(computed_or_refused(taken), OUTPUTS[f"{name}/opened"], atol=1e-5):
                wrong.append(name)
    assert wrong


def computed_or_refused(model):
    try:
        return computed(model)
    except UnsupportedModel:
        return np.nan


def test_a_note_on_exchanged_weights_is_a_warning_and_reaches_inspect_and_the_metadata():
    path = ORDER / "tf_keras_frozen_forward_layer.h5"
    model = read(path)
    with pytest.warns(GateprobeWarning, match="backward_lstm_2"):
        model.predict(X)
    assert opened(model).metadata()["notes"] == list(model.notes)
    shown = CliRunner().invoke(main, ["inspect", "--json", str(path)])
    assert json.loads(shown.output)["notes"] == list(model.notes)


@pytest.mark.filterwarnings("ignore::gateprobe.errors.GateprobeWarning")
@pytest.mark.parametrize("name", ["model_weights", "cells"])
def test_weights_alone_follow_the_same_order(name):
    model = read(ORDER / f"weights_{name}.h5", architecture=ORDER / f"weights_{name}.json")
    right = np.allclose(computed(model), OUTPUTS[f"weights_{name}/trained"], atol=1e-5)
    assert right != bool(said(model))
    assert right == (name == "model_weights")


def test_names_say_what_the_two_directions_are_and_not_shapes():
    groups = {group.name: group for group in opened(read(ORDER / "weights_cells.h5")).groups}
    stacked, _, both = groups
    assert [group.directions for group in groups.values()] == [1, 1, 2]
    assert [array.label.split("/")[1][:7] for array in groups[both].arrays] == ["forward"] * 3 + ["backwar"] * 3
    assert "/stacked_rnn_cells" in groups[stacked].arrays[0].label


def renamed(path, tmp_path, rename):
    """Copy a weights file and give its weights other names."""
    copy = shutil.copy(path, tmp_path / "renamed.h5")
    with h5py.File(copy, "r+") as file:
        for layer in file.values():
            old = [name.decode() if isinstance(name, bytes) else name for name in layer.attrs["weight_names"]]
            new = [rename(number, name) for number, name in enumerate(old)]
            values = [layer[name][()] for name in old]
            for name in [*layer]:
                del layer[name]
            for name, value in zip(new, values, strict=True):
                layer[name] = value
            layer.attrs["weight_names"] = [name.encode() for name in new]
    return copy


def test_cells_that_no_name_tells_apart_are_not_traced(tmp_path):
    model = read(renamed(ORDER / "weights_cells.h5", tmp_path, lambda number, name: f"param_{number}"))
    assert [(group.directions, group.ambiguous) for group in opened(model).groups] == [(1, True)] * 4
    with pytest.raises(InputError, match="in which direction"):
        opened(model).assume(Assumptions("tanh", "sigmoid"))


def test_half_of_a_bidirectional_without_its_like_is_not_traced(tmp_path):
    def rename(number, name):
        return name.replace("/backward_", "/forward_other_")

    model = read(renamed(ORDER / "weights_cells.h5", tmp_path, rename))
    assert [group.ambiguous for group in opened(model).groups] == [False, False, True, True]


def test_halves_of_two_bidirectionals_are_not_paired(tmp_path):
    model = read(renamed(ORDER / "weights_cells.h5", tmp_path, lambda n, name: f"{n // 3}/{HALVES[n // 3]}_x/w{n}:0"))
    assert [(group.directions, group.ambiguous) for group in opened(model).groups] == [(1, True)] * 4


HALVES = ("forward", "backward")


def told(**labels):
    """Return the layers of which a note speaks, each an Embedding of which the file gives its weight a label."""
    records = [LayerRecord(name, "Embedding", {"input_dim": 2, "output_dim": 2}) for name in labels]
    groups = {
        name: WeightGroup((WeightArray(name, np.zeros((2, 2), np.float32), f"{label}/embeddings:0"),))
        for name, label in labels.items()
    }
    return [note.partition(":")[0] for note in exchanged(records, groups, SEMANTICS)]


SEMANTICS = semantics_of(Origin("hdf5", Era.KERAS2, (), "2.15.0"))


def test_only_a_closed_circle_of_names_proves_an_exchange():
    assert told(a="a", b="b") == []
    assert told(a="b", b="a") == ["a", "b"]
    assert told(a="b", b="c", c="a", d="d") == ["a", "b", "c"]
    assert told(a="b", b="b_1") == []  # TensorFlow 1 counts a name up that is taken
    assert told(a="b", b="c", c="c_1") == []
    assert told(a="b", b="a", c="a") == ["a", "b"]
    assert told(a="b/c", b="a", c="d", d="d") == ["a", "b"]


def test_names_that_no_layer_has_prove_nothing(tmp_path):
    path = renamed(ORDER / "weights_model_weights.h5", tmp_path, lambda number, name: f"lstm_9_1/other_{number}")
    assert not read(path, architecture=ORDER / "weights_model_weights.json").notes


def test_exchanged_names_of_weights_in_one_layer_are_told(tmp_path):
    roles = ["recurrent_kernel", "kernel", "bias"]
    path = renamed(
        ORDER / "weights_model_weights.h5", tmp_path, lambda number, name: f"lstm/lstm_cell/{roles[number]}:0"
    )
    model = read(path, architecture=ORDER / "weights_model_weights.json")
    assert len(said(model)) == 1


def two_layers(tmp_path, order):
    """Write a file of two equal LSTMs and list their weights in an order."""
    source = ORDER / "tf_keras_thawed_last_layer.h5"
    path = shutil.copy(source, tmp_path / "two.h5")
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        inner = config["config"]["layers"][1]["config"]["layers"]
        config["config"]["layers"][1:] = [
            {"class_name": "LSTM", "config": {**layer["config"], "trainable": True}} for layer in inner[1:]
        ]
        names = [layer["config"]["name"] for layer in inner[1:]]
        file.attrs["model_config"] = json.dumps(config)
        weights = file["model_weights"]
        (base,) = [name for name in weights if len(weights[name])]
        for name in names:
            group = weights.create_group(f"new/{name}")
            listed = [text for text in weights[base].attrs["weight_names"] if text.split("/")[0] == name]
            for text in listed:
                group[text] = weights[base][text][()]
            group.attrs["weight_names"] = listed
        for name in names:
            weights.move(f"new/{name}", name)
        weights.attrs["layer_names"] = [names[number] for number in order]
    return path


def test_equal_layers_in_another_order_than_the_graph_are_refused(tmp_path):
    assert computed(read(two_layers(tmp_path, [0, 1]))).shape == X.shape
    with pytest.raises(UnsupportedModel, match="Keras goes by the place"):
        computed(read(two_layers(tmp_path, [1, 0])))


@pytest.mark.parametrize("exchanged", [False, True])
def test_exchanged_names_of_equal_objects_are_refused(exchanged, tmp_path):
    source = Path(__file__).parent / "data" / "legacy" / "keras_3.15.1" / "nested"
    path = shutil.copy(source / "model.weights.h5", tmp_path / "model.weights.h5")
    names = ["inner_b", "inner_a"] if exchanged else ["inner_a", "inner_b"]
    with h5py.File(path, "r+") as file:
        layers = file["layers/sequential/layers"]
        del layers["lstm_1"]
        layers.copy(layers["lstm"], "lstm_1")
        for place, name in zip(("lstm", "lstm_1"), names, strict=True):
            layers[place]["vars"].attrs["name"] = name
    expected = "of the same shapes" if exchanged else "expected shape"
    with pytest.raises(UnsupportedModel, match=expected):
        opened(read(path, architecture=source / "model.json")).plan(outputs=True)


def test_adapters_with_a_scale_that_keras_forgets_are_refused(tmp_path):
    path = shutil.copy(ORDER / "keras3_adapters.h5", tmp_path / "adapters.h5")
    with h5py.File(path, "r+") as file:
        config = file.attrs["model_config"]
        assert '"lora_alpha": 1' in config
        file.attrs["model_config"] = config.replace('"lora_alpha": 1', '"lora_alpha": 2')
    with pytest.raises(UnsupportedModel, match="Keras forgets it"):
        computed(read(path))
