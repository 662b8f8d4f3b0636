"""What keeps a file away from Keras."""

import json
import zipfile

import pytest

from gateprobe.verify.trust import objections

PLAIN = {"module": "keras.layers", "class_name": "LSTM", "registered_name": None, "config": {"units": 2}}


def asked(tmp_path, layer):
    path = tmp_path / "model.keras"
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": [layer]}}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("config.json", json.dumps(config))
    return list(objections(str(path), None))


def test_a_plain_layer_has_nothing_against_it(tmp_path):
    initializer = {"module": "keras.initializers", "class_name": "Orthogonal", "config": {}, "registered_name": None}
    assert asked(tmp_path, PLAIN) == []
    assert asked(tmp_path, {**PLAIN, "config": {"units": 2, "recurrent_initializer": initializer}}) == []
    assert asked(tmp_path, {**PLAIN, "config": {"activation": {"module": "builtins", "class_name": "function",
                 "config": "tanh", "registered_name": "function"}}}) == []  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        ({**PLAIN, "class_name": "Lambda"}, "Lambda"),
        ({**PLAIN, "class_name": "TFSMLayer"}, "TFSMLayer"),
        ({**PLAIN, "module": "os"}, "os"),
        ({**PLAIN, "module": 3}, "3"),
        ({**PLAIN, "registered_name": "evil>LSTM"}, "evil>LSTM"),
        ({**PLAIN, "config": {"activation": {"class_name": "__lambda__", "config": {}}}}, "__lambda__"),
        ({**PLAIN, "config": {"activation": {"class_name": "function", "module": "os", "config": "system"}}}, "os"),
        ({**PLAIN, "config": {"activation": {"class_name": "function", "module": "keras.config",
          "config": "enable_unsafe_deserialization"}}}, "keras.config"),
        ({**PLAIN, "config": {"kernel_initializer": {"class_name": "Evil", "module": "evil"}}}, "Evil"),
        ({**PLAIN, "build_config": {"x": [{"class_name": "Evil"}]}}, "Evil"),
    ],
)  # fmt: skip
def test_everything_that_could_select_code_is_named(tmp_path, layer, what):
    found = asked(tmp_path, layer)
    assert found
    assert what in found[0]
    assert found[0].startswith("config.layers[0]")
