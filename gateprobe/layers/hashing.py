"""Hashing and HashedCrossing: buckets of texts and integers.

Rules: ``keras/src/layers/preprocessing/{hashing,hashed_crossing}.py`` 3.15.1 and those of ``tf_keras`` 2.21.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor
from gateprobe.layers.binding.registry import Binding, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.encoding import encoded
from gateprobe.layers.text_hashes import crossed, farm, sip
from gateprobe.layers.text_rules import is_text, texts_of
from gateprobe.layers.unary import whole

Salt: TypeAlias = tuple[int, int]
"""The key of SipHash."""


def bucket(token: str | int, salt: Salt | None, bins: int) -> int:
    """Return the bucket of a text, or of an integer as a text."""
    data = str(token).encode()
    return (farm(data) if salt is None else sip(data, salt)) % bins


@dataclass(frozen=True, slots=True, eq=False)
class Hashing:
    """The bucket of each value, or its code."""

    bins: int
    mask: str | int | float | None
    salt: Salt | None
    mode: str
    reads_text: bool = True

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Hash every value; the result has their shape, or codes in place of the last axis."""
        value = call.tensor.value
        if self.mask is not None and self.bins > 1 and isinstance(self.mask, str) is not is_text(value):
            raise InputError(f"compares its values with mask_value={self.mask!r}, got {value.dtype}")
        masked = self.mask is not None and self.bins > 1
        ids = np.array([bucket(one, self.salt, self.bins - masked) for one in _values(value)], np.int64)
        ids = ids.reshape(value.shape)
        if masked:
            given = np.array(texts_of(value), object).reshape(value.shape) if is_text(value) else value
            ids = np.where(given == self.mask, 0, ids + 1)
        return (Tensor(ids if self.mode == "int" else encoded(ids, self.mode, self.bins)),)


def _values(value: Array) -> list[Any]:
    return texts_of(value) if is_text(value) else whole(value, "int64").ravel().tolist()


@dataclass(frozen=True, slots=True, eq=False)
class HashedCrossing:
    """The bucket of several values together, or its code."""

    bins: int
    mode: str
    reads_text: bool = True

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Hash the values of each sample; the result has the shape of one input, or codes."""
        values = [tensor.value for tensor in call.tensors]
        shape = values[0].shape if values else ()
        if len(values) < 2 or len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
            raise InputError(f"takes several inputs of one value for each sample, got {len(values)} of shape {shape}")
        if any(value.shape != shape or value.dtype.kind == "f" for value in values):
            raise InputError("takes texts and integers of one shape")
        columns = [[_feature(one) for one in _values(value)] for value in values]
        ids = np.array([crossed(row) % self.bins for row in zip(*columns, strict=True)], np.int64).reshape(shape)
        return (Tensor(ids if self.mode == "int" else encoded(ids, self.mode, self.bins)),)


def _feature(value: str | int) -> bytes | int:
    return value.encode() if isinstance(value, str) else value


def salt_of(settings: Settings) -> Salt | None:
    """Return the key of SipHash; without one, texts are hashed by FarmHash.

    Raises:
        Unsupported: It is neither one whole number nor two.
    """
    value = settings.raw("salt")
    if value is None:
        return None
    pair = [value, value] if type(value) is int else value
    if not isinstance(pair, list) or len(pair) != 2 or any(type(part) is not int for part in pair):
        raise Unsupported(f"config.salt: expected one or two whole numbers, got {value!r:.60}")
    return pair[0], pair[1]


@replays("Hashing")
def _bind_hashing(binding: Binding) -> Layer:
    settings = binding.settings
    mask = settings.raw("mask_value")
    if mask is not None and type(mask) not in (str, int, float):
        raise Unsupported(f"config.mask_value: expected a text or a number, got {mask!r:.60}")
    bins, salt = settings.integer("num_bins"), salt_of(settings)
    mode = settings.choice("output_mode", ("int", "one_hot", "multi_hot", "count"), "int")
    settings.finish()
    return Hashing(bins, mask, salt, mode)


@replays("HashedCrossing")
def _bind_crossing(binding: Binding) -> Layer:
    settings = binding.settings
    bins, mode = settings.integer("num_bins"), settings.choice("output_mode", ("int", "one_hot"), "int")
    settings.finish()
    return HashedCrossing(bins, mode)
