"""Typed reading of a layer's configuration, in which nothing is silently ignored.

Each layer takes the keys it understands; `Settings.finish` then refuses whatever is left, unless it is known to have no
influence on inference or is switched off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from gateprobe.activations import Activation, UnknownActivation, UnlistedActivation, resolve
from gateprobe.errors import USERS_CODE
from gateprobe.graph import Config, LayerRecord, Namespace
from gateprobe.layers.binding.left_out import reason_of
from gateprobe.semantics import Semantics

INERT = frozenset(
    """
    name trainable dtype batch_input_shape batch_shape input_shape input_dtype input_dim_hint build_config
    kernel_initializer recurrent_initializer bias_initializer embeddings_initializer beta_initializer gamma_initializer
    moving_mean_initializer moving_variance_initializer depthwise_initializer pointwise_initializer alpha_initializer
    state_initializer kernel_regularizer recurrent_regularizer bias_regularizer embeddings_regularizer
    beta_regularizer gamma_regularizer depthwise_regularizer pointwise_regularizer alpha_regularizer
    activity_regularizer state_regularizer kernel_constraint recurrent_constraint bias_constraint
    embeddings_constraint beta_constraint gamma_constraint depthwise_constraint pointwise_constraint alpha_constraint
    unit_forget_bias seed rng_type sparse ragged optional input_length autocast implementation quantization_config
    lora_rank lora_alpha use_cudnn vocabulary_size has_input_vocabulary
    """.split()
)
"""Keys that cannot change what a layer computes at inference from given weights."""


class Unsupported(Exception):
    """A layer cannot be replayed exactly; the binder adds its path and collects all of them."""


class BadSize(Unsupported):
    """A size, a count or an axis that no Keras accepts, such as ``units: -4``: the file was not saved by Keras so."""


class OtherWeights(Unsupported):
    """The file holds other weights than the layer needs: the file is damaged, or it is of another model."""


class UnknownCode(Unsupported):
    """What a layer computes is in no table of ours: code of the user's own, or a class of Keras that is not known."""


def users_code(what: str) -> UnknownCode:
    """Return the refusal of code of the user's own, in the one wording for it.

    Args:
        what: What is code, with a verb: ``is``, ``config.split: 'my_words' is``.
    """
    return UnknownCode(f"{what} {USERS_CODE}")


def unknown_class(record: LayerRecord) -> UnknownCode:
    """Return the refusal of a layer whose class is in no table of ours."""
    if record.class_name in ("Lambda", "TFSMLayer") or record.namespace is Namespace.CUSTOM:
        return users_code("is")
    listed = reason_of(record.namespace, record.class_name)
    if listed is not None:
        return UnknownCode(listed)
    if record.module is not None or record.namespace is Namespace.OPERATION:
        return UnknownCode("is not a Keras layer that gateprobe knows")
    return users_code("is not a Keras layer that gateprobe knows but")  # such files name no modules


RANDOM = "is called with training=True: its output is random; --dropout=off leaves the randomness out"
"""What a refusal of a layer says that is random at inference."""
LEARNING = "is called with training=True: its output depends on the batch, or on the batches before"
"""What a refusal of a layer says that learns at inference."""


def refuse(reason: str) -> NoReturn:
    """Raise `Unsupported`."""
    raise Unsupported(reason)


_POLICIES = frozenset({"DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1"})
"""Classes of policies that are nothing but a name: Keras 3.3 and later, Keras 3.0 to 3.2, tf.keras."""


def policy_name(config: Config) -> str:
    """Return the name of a layer's dtype policy, such as ``mixed_float16``.

    Raises:
        Unsupported: The policy is more than a name, such as a ``DTypePolicyMap`` or a ``QuantizedDTypePolicy``.
    """
    dtype = config.get("dtype")
    if dtype is None:
        return "float32"
    name = dtype
    if isinstance(dtype, Mapping) and str(dtype.get("class_name")) in _POLICIES:
        inner = dtype.get("config")
        name = inner.get("name") if isinstance(inner, Mapping) else None
    if isinstance(name, str) and name:
        return name
    shown = dtype.get("class_name") if isinstance(dtype, Mapping) else dtype
    raise Unsupported(f"config.dtype: a policy {shown!r:.60} is not replayed; save the model with one named policy")


class Settings:
    """The configuration of one layer, read key by key.

    Args:
        config: As in the file.
        semantics: The meaning of activation names.
    """

    def __init__(self, config: Config, semantics: Semantics) -> None:
        self._config = config
        self._semantics = semantics
        self._taken: set[str] = set()

    @property
    def semantics(self) -> Semantics:
        """The meaning of the era's words."""
        return self._semantics

    @property
    def bare(self) -> bool:
        """Whether nothing was saved but the name (cells of Keras 2.0.9 have no ``get_config``)."""
        return self._config.keys() <= {"name", "trainable", "dtype"}

    def has(self, key: str) -> bool:
        """Whether the file says anything about ``key``."""
        return key in self._config

    def require(self, key: str) -> None:
        """Refuse a configuration without a key for which Keras has no default.

        Raises:
            Unsupported: It is missing.
        """
        if key not in self._config:
            raise Unsupported(f"config.{key}: is missing, and Keras has no default for it")

    def raw(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key`` as it is; a default that depends on the era may be a function without arguments.

        Such a function is called only when the key is missing, so that what was not asked for is not counted as asked.
        """
        self._taken.add(key)
        if key in self._config:
            return self._config[key]
        return default() if callable(default) else default

    def _typed(self, key: str, expected: str, value: Any, kind: type[Unsupported] = Unsupported) -> Unsupported:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        return kind(f"config.{key}: expected {expected}, got {type(value).__name__} {shown}")

    def integer(self, key: str, default: int | None = None, minimum: int = 1) -> int:
        """Return an int of at least ``minimum``; required when there is no default."""
        value = self.raw(key, default)
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._typed(key, "an int", value, Unsupported if value is None else BadSize)
        if value < minimum:
            raise BadSize(f"config.{key}: {value} is less than {minimum}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number; required when there is no default."""
        value = self.raw(key, default)
        if isinstance(value, Mapping):  # Keras 2 stored some numbers as {"type": "ndarray", "value": x}
            value = value.get("value")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._typed(key, "a finite number", value)
        return float(value)

    def flag(self, key: str, default: bool | Callable[[], bool] = False) -> bool:
        """Return a bool. Texts such as ``"no"`` are refused, not taken for true."""
        value = self.raw(key, default)
        if not isinstance(value, bool):
            raise self._typed(key, "true or false", value)
        return value

    def choice(self, key: str, allowed: tuple[Any, ...], default: Any = None) -> Any:
        """Return one of the allowed values."""
        value = self.raw(key, default)
        if not any(value is option or (type(value) is type(option) and value == option) for option in allowed):
            raise self._typed(key, "one of " + ", ".join(map(str, allowed)), value)
        return value

    def integers(self, key: str, length: int | None = None, default: Any = None, minimum: int = 1) -> tuple[int, ...]:
        """Return a tuple of ints; a single int is repeated ``length`` times."""
        value = self.raw(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and length is not None:
            value = [value] * length
        if not isinstance(value, (list, tuple)) or any(isinstance(v, bool) or not isinstance(v, int) for v in value):
            raise self._typed(key, "a list of ints", value)
        if length is not None and len(value) != length:
            raise self._typed(key, f"{length} ints", value)
        if any(v < minimum for v in value):
            raise BadSize(f"config.{key}: {list(value)} has a value below {minimum}")
        return tuple(value)

    def axes(self, key: str = "axis", default: int = -1) -> tuple[int, ...]:
        """Return axes, which are an int or a list; some count from the end."""
        several = isinstance(self.raw(key, default), (list, tuple))
        return self.integers(key, None if several else 1, default, minimum=-32)

    def activation(self, key: str, default: Any = "linear") -> Activation:
        """Return an activation function from the closed table."""
        value = self.raw(key, default)
        try:
            return resolve(value, self._semantics)
        except UnlistedActivation as error:
            raise users_code(f"config.{key}: {error} but") from None
        except UnknownActivation as error:
            raise Unsupported(f"config.{key}: {error}") from None

    def ignore(self, *keys: str) -> None:
        """Declare that these keys cannot change what this layer computes at inference."""
        self._taken.update(keys)

    def finish(self) -> None:
        """Refuse every key that was neither taken nor is inert nor is switched off.

        Raises:
            Unsupported: Names the keys.
        """
        left = [
            key
            for key, value in self._config.items()
            if key not in self._taken and key not in INERT and value is not None and value is not False
        ]
        if left:
            shown = ", ".join(f"{key}={self._config[key]!r:.60}" for key in left)
            raise Unsupported(f"configuration not understood: {shown}")
