"""What keeps an architecture away from Keras."""

import importlib.util
import re
from pathlib import Path

import pytest

from gateprobe.verification.trust import _NAMED, objections, without_training

PLAIN = {"module": "keras.layers", "class_name": "LSTM", "registered_name": None, "config": {"units": 2}}


def asked(layer, **more):
    config = {"name": "s", "layers": [layer]}
    return list(objections({"module": "keras", "class_name": "Sequential", "config": config, **more}))


def configured(**config):
    return {**PLAIN, "config": {"units": 2, **config}}


def function(name, module="keras.activations", registered_name="function"):
    return {"module": module, "class_name": "function", "config": name, "registered_name": registered_name}


@pytest.mark.parametrize(
    "layer",
    [
        PLAIN,
        {**PLAIN, "module": "tf_keras.layers"},
        {"class_name": "LSTM", "config": {"name": "os", "units": 2}},
        configured(activation="hard_sigmoid", kernel_initializer="glorot_uniform", bias_regularizer="l2"),
        configured(activation=function("tanh"), recurrent_activation=function("sigmoid", None)),
        configured(kernel_constraint={"class_name": "MaxNorm", "config": {"max_value": 2}}),
        configured(
            recurrent_initializer={
                "module": "keras.initializers",
                "class_name": "Orthogonal",
                "config": {},
                "registered_name": None,
            }
        ),
        {**PLAIN, "build_config": {"input_shape": [None, 5, 2]}},
    ],
)
def test_what_keras_writes_has_nothing_against_it(layer):
    assert asked(layer) == []


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        ({**PLAIN, "class_name": "Lambda"}, "Lambda"),
        ({**PLAIN, "class_name": "TFSMLayer"}, "TFSMLayer"),
        ({**PLAIN, "class_name": ["LSTM"]}, "LSTM"),
        ({**PLAIN, "class_name": None}, "None"),
        ({**PLAIN, "module": "os"}, "os"),
        ({**PLAIN, "module": "builtins"}, "builtins"),
        ({**PLAIN, "module": "keras.src.utils"}, "keras.src.utils"),
        ({**PLAIN, "module": 3}, "3"),
        ({**PLAIN, "registered_name": "evil>LSTM"}, "evil>LSTM"),
        ({"module": "os"}, "os"),
        ({"registered_name": "evil>LSTM"}, "evil>LSTM"),
        (configured(activation={"class_name": "__lambda__", "config": {}}), "__lambda__"),
        (configured(activation=function("system", "os")), "system"),
        (configured(activation=function("tanh", "os")), "os"),
        (configured(activation=function("tanh", "builtins")), "builtins"),
        (configured(activation=function("exec", "builtins", "exec")), "exec"),
        (configured(activation=function("tanh", registered_name="evil>tanh")), "evil>tanh"),
        (configured(activation=function(["tanh"])), "tanh"),
        (configured(activation=function("enable_unsafe_deserialization", "keras.config")), "enable_unsafe"),
        (configured(kernel_regularizer=function("print", "builtins", "print")), "print"),
        (configured(kernel_initializer={"class_name": "Evil", "module": "evil"}), "Evil"),
        (configured(activation="deserialize"), "deserialize"),
        (configured(recurrent_activation=["tanh", "get"]), "get"),
        (configured(kernel_initializer="serialize"), "serialize"),
        (configured(inner_init="serialize"), "serialize"),
        (configured(activity_regularizer="deserialize"), "deserialize"),
        (configured(bias_constraint="deserialize"), "deserialize"),
        ({**PLAIN, "build_config": {"x": [{"class_name": "Evil"}]}}, "Evil"),
        ({**PLAIN, "class_name": "TFOpLambda", "config": {"function": "io.read_file"}}, "io.read_file"),
        ({**PLAIN, "class_name": "TFOpLambda", "config": {"function": {"name": "math.add"}}}, "math.add"),
        ({**PLAIN, "class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": "ReadFile"}}}, "ReadFile"),
        ({**PLAIN, "class_name": "TensorFlowOpLayer", "config": {"node_def": "ReadFile"}}, "operation None"),
    ],
)
def test_everything_that_could_select_code_is_named(layer, what):
    found = asked(layer)
    assert found
    assert what in found[0]
    assert found[0].startswith("model.config.layers[0]")


@pytest.mark.parametrize("value", [None, 3, [], {"gateprobe_wiring": 1}])
def test_what_is_no_architecture_of_keras(value):
    assert "something else" in next(objections(value))


def test_training_is_cut_out_at_every_depth():
    evil = {"loss": function("exec", "builtins")}
    inner = {**PLAIN, "compile_config": evil, "config": {"layers": [{**PLAIN, "compile_config": evil}], "units": 2}}
    value = {"class_name": "Sequential", "config": [inner], "compile_config": evil, "training_config": evil}
    cut = without_training(value)
    assert cut == {"class_name": "Sequential", "config": [{**PLAIN, "config": {"layers": [PLAIN], "units": 2}}]}
    assert not list(objections(cut))
    assert list(objections(value))


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_every_setting_that_keras_looks_up_by_name_is_checked(package):
    """In the sources of its layers: whatever is given to ``activations.get`` and its like."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip("needs the keras extra")
    call = re.compile(
        r"\b(?:activations|initializers|regularizers|constraints)\.(?:get|deserialize)\(\s*(?:self\.)?(\w+)"
    )
    folder = Path(spec.origin).parent / "src" / "layers"
    names = {name for path in folder.rglob("*.py") for name in call.findall(path.read_text(encoding="utf-8"))}
    assert len(names) > 20
    assert {name.rpartition("_")[2] for name in names} - {"kwargs", "config"} <= set(_NAMED)
