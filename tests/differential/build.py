"""From a spec to a model of the real Keras with random weights, and to its data."""

from __future__ import annotations

import operator
import zlib
from typing import Any

import numpy as np

from .spec import Spec

PYTHON = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "pow": operator.pow,
    "neg": operator.neg,
    "getitem": operator.getitem,
}


def flatten(value: Any) -> list[Any]:
    """Return the tensors of a nested value in Keras's order."""
    if isinstance(value, dict):
        return [item for key in sorted(value) for item in flatten(value[key])]
    if isinstance(value, (list, tuple)):
        return [item for one in value for item in flatten(one)]
    return [value]


class Kit:
    """One Keras: ``keras3`` or ``tf_keras``."""

    def __init__(self, family: str) -> None:
        import tensorflow as tf

        if family == "keras3":
            import keras
        else:
            import tf_keras as keras

            _trace_for_cpu_alone()
        self.family, self.keras, self.tf = family, keras, tf

    def set_policy(self, name: str) -> None:
        if self.family == "keras3":
            self.keras.config.set_dtype_policy(name)
        else:
            self.keras.mixed_precision.set_global_policy(name)

    def load(self, path: Any) -> Any:
        """Open a file as a user would."""
        return self.keras.models.load_model(str(path), compile=False)

    def run(self, model: Any, inputs: Any) -> Any:
        """Call a model in inference mode, eagerly."""
        return model(inputs, training=False)

    def reset(self, model: Any) -> None:
        """Reset the states of stateful layers, nested ones too."""
        for one in flat_layers(model):
            if getattr(one, "stateful", False) and hasattr(
                one, "reset_states" if self.family == "tf_keras" else "reset_state"
            ):
                (one.reset_states if self.family == "tf_keras" else one.reset_state)()


def _trace_for_cpu_alone() -> None:
    """Let LSTM and GRU of tf_keras call what they choose on a CPU, and not trace what a GPU would run as well.

    That takes three quarters of the time: ``lstm_with_backend_selection`` in ``tf_keras/src/layers/rnn/lstm.py`` makes
    two functions of each call and runs the first.
    """
    from tf_keras.src.layers.rnn import gru, lstm

    lstm.lstm_with_backend_selection = lstm.standard_lstm
    gru.gru_with_backend_selection = gru.standard_gru


def flat_layers(one: Any) -> list[Any]:
    """Return a layer and every layer inside it."""
    return list(one._flatten_layers())


def build(spec: Spec, kit: Kit) -> Any:
    """Build a model and give it random weights.

    Raises:
        Exception: Whatever Keras raises when it refuses the model.
    """
    kit.set_policy(spec.get("policy", "float32"))
    try:
        builder = _Builder(kit, spec)
        model = builder.model(spec, top=True)
        if not model.built:
            model(data(spec)[spec["inputs"][0]["name"]])
        builder.freeze()
    finally:
        kit.set_policy("float32")
    _randomize(model, spec["seed"])
    for one in flat_layers(model):
        if hasattr(one, "finalize_state"):  # Normalization works with a copy of its statistics
            one.finalize_state()
    return model


class _Builder:
    def __init__(self, kit: Kit, spec: Spec) -> None:
        self.kit = kit
        self.spec = spec
        self.made: list[tuple[Any, Spec]] = []
        """Every layer with what is to be frozen in it at the end, the inner ones first."""

    def freeze(self) -> None:
        """Freeze and thaw layers of the model that stands."""
        for one, said in self.made[::-1] if self.spec.get("outer_first") else self.made:
            if "end" in said:
                one.trainable = said["end"]
            for name, value in said.get("parts", {}).items():
                getattr(one, name).trainable = value

    def model(self, spec: Spec, *, top: bool = False, **extra: Any) -> Any:
        keras = self.kit.keras
        if spec["kind"] == "sequential":
            return self._sequential(spec, top=top, **extra)
        inputs = [self._input(item) for item in spec["inputs"]]
        values = {item["name"]: [tensor] for item, tensor in zip(spec["inputs"], inputs, strict=True)}
        made: dict[str, Any] = {}
        for node in spec["nodes"]:
            call = self._callable(node, made)
            result = call(*_filled(node["args"], values), **_filled(node["kwargs"], values))
            values[node["name"]] = flatten(result)
        outputs: Any = [values[ref["t"]][ref["i"]] for ref in spec["outputs"]]
        if spec["output_style"] == "dict":
            outputs = {f"out_{n}": tensor for n, tensor in enumerate(outputs)}
        elif len(outputs) == 1:
            outputs = outputs[0]
        given: Any = inputs
        if spec["input_style"] == "dict":
            given = {item["name"]: tensor for item, tensor in zip(spec["inputs"], inputs, strict=True)}
        elif len(inputs) == 1:
            given = inputs[0]
        frozen = {"trainable": spec["trainable"]} if "trainable" in spec else {}
        return keras.Model(given, outputs, **frozen, **extra)

    def _sequential(self, spec: Spec, *, top: bool, **extra: Any) -> Any:
        made: dict[str, Any] = {}
        layers = [self._callable(node, made) for node in spec["nodes"]]
        first = [] if spec["input_style"] == "deferred" else [self._input(spec["inputs"][0])]
        return self.kit.keras.Sequential([*first, *layers], **extra)

    def _input(self, item: Spec) -> Any:
        shape = [None if item["open"] and n == 0 else size for n, size in enumerate(item["shape"])]
        dtype = {"tokens": "int32", "bool": "bool"}.get(item["kind"])
        options = {"batch_size": self.spec["samples"]} if self.spec.get("stateful") else {}
        return self.kit.keras.Input(
            shape=tuple(shape), name=item["name"], **({"dtype": dtype} if dtype else {}), **options
        )

    def _callable(self, node: Spec, made: dict[str, Any]) -> Any:
        layer = node["layer"]
        if "shared" in layer:
            return made[layer["shared"]]
        if "op" in layer:
            return self._operation(layer["op"])
        made[node["name"]] = self.layer(layer, name=node["name"])
        return made[node["name"]]

    def _operation(self, name: str) -> Any:
        if name in PYTHON:
            return PYTHON[name]
        value = self.kit.keras if name.startswith("ops.") else self.kit
        for part in name.split("."):
            value = getattr(value, part)
        return value

    def layer(self, layer: Spec, **extra: Any) -> Any:
        """Make a layer, and the layers inside it first."""
        one = self.model(layer["model"], **extra) if "model" in layer else self._plain(layer, **extra)
        said = layer.get("trainable", {})
        if "made" in said:
            one.trainable = said["made"]
        self.made.append((one, said))
        return one

    def _plain(self, layer: Spec, **extra: Any) -> Any:
        made = getattr(self.kit.keras.layers, layer["class"])
        config = self._config(layer["config"])
        if _is_recurrent(layer["class"]):
            config.setdefault("recurrent_initializer", "zeros")  # the default is slow, and fails in bfloat16
        return made(**config, **extra)

    def _config(self, config: dict[str, Any]) -> dict[str, Any]:
        return {key: self._value(value) for key, value in config.items()}

    def _value(self, value: Any) -> Any:
        if isinstance(value, dict) and ("class" in value or "model" in value):
            return self.layer(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return [self._value(item) for item in value]
        return _tuples(value)


def _is_recurrent(name: str) -> bool:
    return name.removesuffix("Cell") in ("LSTM", "GRU", "SimpleRNN") or name.startswith("ConvLSTM")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _filled(argument: Any, values: dict[str, list[Any]]) -> Any:
    """Put tensors in place of references."""
    if isinstance(argument, dict):
        if "t" in argument:
            return values[argument["t"]][argument["i"]]
        if "slice" in argument:
            return slice(*argument["slice"])
        return {key: _filled(item, values) for key, item in argument.items()}
    if isinstance(argument, list):
        items = [_filled(item, values) for item in argument]
        return tuple(items) if any(isinstance(item, slice) for item in items) else items
    return ... if argument == "..." else argument


def _randomize(model: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.5, 1.3)
    for variable in model.weights:
        value = np.asarray(variable)
        if value.dtype.kind not in "fV" and "float" not in str(variable.dtype):
            continue
        variable.assign(
            _random_weight(rng, variable.path if hasattr(variable, "path") else variable.name, value.shape, spread)
        )


def _random_weight(rng: np.random.Generator, name: str, shape: tuple[int, ...], spread: float) -> Any:
    if "variance" in name or "stddev" in name:
        return rng.uniform(0.3, 2, shape)
    if "gamma" in name or name.endswith("scale"):
        return rng.normal(1, 0.3, shape)
    if "embeddings" in name:
        return rng.normal(0, 1, shape)
    inputs = int(np.prod(shape[:-1])) if len(shape) > 1 else 2
    return rng.normal(0, spread / np.sqrt(max(inputs, 1)), shape)


def data(spec: Spec) -> dict[str, np.ndarray]:
    """Make the inputs, each ``(samples, ...)``: two batches for a stateful model."""
    rows = spec["samples"] * (2 if spec.get("stateful") else 1)
    return {item["name"]: _array(item, rows, spec["seed"]) for item in spec["inputs"]}


def _array(item: Spec, rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(item["name"].encode())])
    shape = (rows, *item["shape"])
    lengths = rng.integers(0 if rng.random() < 0.3 else 1, item["shape"][0] + 1, rows)
    kept = np.arange(item["shape"][0]) < lengths[:, None]
    if rng.random() < 0.3:
        kept = kept[:, ::-1] if rng.random() < 0.5 else rng.random(kept.shape) < 0.6
    if item["kind"] != "float" and len(shape) > 2:  # words in sentences
        kept = rng.random(shape) < 0.7
    if item["kind"] == "bool":
        return kept
    if item["kind"] == "tokens":
        ids = rng.integers(1, item["vocabulary"], shape)
        return np.where(kept if item["blank"] else np.ones_like(kept), ids, 0).astype(np.int32)
    values = rng.normal(0, 1, shape).astype(np.float32)
    if item["blank"] and len(shape) > 2:
        values[~kept] = 0
    return values
