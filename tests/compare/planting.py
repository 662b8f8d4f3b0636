"""Three small models, and ports of them in which mistakes are planted: by a scalar loop, not by the package."""

from dataclasses import dataclass, field

import numpy as np
from graphs import chain, lstm_weights
from scalar_port import port

from gateprobe.graph import LayerRecord


def plain(array):
    return np.float64(np.float32(array)).tolist()


@dataclass
class Scene:
    """A model with inputs, and what is needed to port it."""

    model: object
    x: np.ndarray
    kind: str
    weights: dict
    """(layer, direction) → weights."""
    mask: np.ndarray | None = None
    feeds: dict = field(default_factory=dict)

    def ported(self, only=None, **switches):
        """Return what a port logs: key → array; mistakes are made in all directions, or in ``only`` one."""
        arrays = {}
        for (layer, direction), weights in self.weights.items():
            initial = None
            if self.feeds:
                states = [plain(self.feeds[f"{layer}.initial_state[{k}]"]) for k in range(2)]
                initial = [list(pair) for pair in zip(*states, strict=True)]
            made = switches if only in (None, direction) else {}
            signals = port(
                self.kind, plain(self.x), [plain(w) for w in weights], backwards=direction == "backward",
                mask=None if self.mask is None else self.mask.tolist(), initial=initial, **made,
            )  # fmt: skip
            arrays |= {f"{layer}/{direction}/{name}": np.array(value) for name, value in signals.items()}
        return arrays


def lstm(seed=1, units=3, features=3, **config):
    rng = np.random.default_rng(seed)
    weights = lstm_weights(rng, features, units)
    config = {"units": units, "return_sequences": True, **config}
    model = chain([("LSTM", "lstm", config)], {"lstm": weights}, input_shape=(None, None, features))
    x = rng.normal(0, 1, (3, 6, features)).astype(np.float32)
    return Scene(model, x, "lstm", {("lstm", "forward"): weights})


def decoder(seed=5):
    scene = lstm(seed)
    rng = np.random.default_rng(seed)
    states = rng.normal(0, 0.5, (2, 3, 3)).astype(np.float32)
    scene.feeds = {"lstm": scene.x} | {f"lstm.initial_state[{k}]": states[k] for k in range(2)}
    return scene


def bidirectional(seed=2, units=2, features=2):
    rng = np.random.default_rng(seed)
    weights = [*lstm_weights(rng, features, units), *lstm_weights(rng, features, units)]
    inner = LayerRecord("inner", "LSTM", {"name": "inner", "units": units, "return_sequences": True})
    layers = [
        ("Masking", "masking", {"mask_value": 0.0}),
        ("Bidirectional", "bi", {"merge_mode": "concat", "layer": {}}, {"layer": inner}),
    ]
    model = chain(layers, {"bi": weights}, input_shape=(None, None, features))
    x = rng.normal(0, 1, (3, 6, features)).astype(np.float32)
    x[0, 4:], x[1, 0], x[2, 2] = 0, 0, 0
    both = {("bi", "forward"): weights[:3], ("bi", "backward"): weights[3:]}
    return Scene(model, x, "lstm", both, mask=(x != 0).any(axis=-1))


def gru(seed=3, units=3, features=3):
    rng = np.random.default_rng(seed)
    shapes = ((features, 3 * units), (units, 3 * units), (2, 3 * units))
    weights = [rng.normal(0, 0.7, shape) for shape in shapes]
    config = {"units": units, "return_sequences": True, "reset_after": True}
    model = chain([("GRU", "gru", config)], {"gru": weights}, input_shape=(None, None, features))
    x = rng.normal(0, 1, (3, 6, features)).astype(np.float32)
    return Scene(model, x, "gru", {("gru", "forward"): weights})


SCENES = {"lstm": lstm, "bidirectional": bidirectional, "gru": gru, "decoder": decoder}
