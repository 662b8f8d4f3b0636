"""Layers that merge several tensors, and what becomes of their masks.

Formulas: ``keras/src/layers/merging/*.py`` 3.0 to 3.15 and ``tf_keras/src/layers/merging`` 2.21;
``keras/layers/merge.py`` 2.0 to 2.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Arguments, Layer, Precision, Ranks, Scope, Tensor, beyond_time
from gateprobe.layers.binding.registry import Binding, replays
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.unary import axis_in, fitting, rounded
from gateprobe.limits import room
from gateprobe.semantics import MergedMask

Masks = Sequence[Array | None]
Combine = Callable[[Sequence[Array], Masks], Array]


@dataclass(frozen=True, slots=True, eq=False)
class Merge:
    """Combines tensors element by element."""

    combine: Combine
    masking: MergedMask
    """What becomes of the masks of its inputs."""
    precision: Precision
    inputs: int | None = None
    """How many inputs it takes, if that is fixed."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Give all inputs the same number of axes, combine them and merge their masks."""
        tensors = call.tensors
        if not tensors or len(tensors) != (self.inputs or len(tensors)):
            raise InputError(f"expected {self.inputs or 'at least one'} inputs, got {len(tensors)}")
        values = aligned([tensor.value for tensor in tensors], self.precision)
        rank = max(value.ndim for value in values)
        masks = [tensor.mask if tensor.value.ndim == rank else None for tensor in tensors]
        with fitting(*values):
            values = [_with_rank(value, rank) for value in values]
            room.combining(*values)
            result = rounded(self.combine(values, masks), self.precision)
            return (Tensor(result, _merged_mask([tensor.mask for tensor in tensors], self.masking)),)

    def over_time(self, ranks: tuple[int, ...]) -> Ranks | None:
        """See `gateprobe.layers.base.Timewise`."""
        return ranks[:1] if len(set(ranks)) == 1 else None


def aligned(values: Sequence[Array], precision: Precision) -> list[Array]:
    """Cast all values to one dtype: that of the precision when any of them is a float."""
    floating = any(np.issubdtype(value.dtype, np.floating) for value in values)
    return [precision.cast(value) if floating else value for value in values]


def _with_rank(x: Array, rank: int) -> Array:
    """Insert axes of size one after the sample axis, as Keras does with inputs of fewer axes."""
    return x.reshape(x.shape[:1] + (1,) * (rank - x.ndim) + x.shape[1:])


def _merged_mask(masks: Masks, masking: MergedMask) -> Array | None:
    given = [mask for mask in masks if mask is not None]
    if not given or masking is MergedMask.NONE or (masking is MergedMask.ANY and len(given) < len(masks)):
        return None
    if masking is MergedMask.ANY:
        return reduce(np.logical_or, given)
    if any(mask.shape != given[0].shape for mask in given):
        raise InputError("masks of different shapes cannot be merged")
    return reduce(np.logical_and, given)


def _fold(values: Sequence[Array], masks: Masks, function: Callable[[Array, Array], Array]) -> Array:
    return reduce(function, values)


def _extremum(values: Sequence[Array], masks: Masks, function: Callable[[Array, Array], Array]) -> Array:
    """Compare only what is not masked, as Keras 3.4 and later do."""
    output, output_mask = values[0], _spread(masks[0], values[0])
    for value, own in zip(values[1:], masks[1:], strict=True):
        mask = _spread(own, value)
        other = value if mask is None else np.where(mask, value, output)
        output = output if output_mask is None else np.where(output_mask, output, other)
        output_mask = None if mask is None or output_mask is None else output_mask | mask
        output = function(output, other)
    return output


def _product(values: Sequence[Array], masks: Masks) -> Array:
    """Multiply what is not masked, as Keras 3.4 and later do; zero where all inputs are masked."""
    spread = [_spread(mask, value) for value, mask in zip(values, masks, strict=True)]
    one = np.ones((), values[0].dtype)
    factors = [
        value if mask is None else np.where(mask, value, one) for value, mask in zip(values, spread, strict=True)
    ]
    output: Array = reduce(np.multiply, factors)
    kept = [mask for mask in spread if mask is not None]
    if len(kept) < len(spread):
        return output
    return np.where(reduce(np.logical_or, kept), output, np.zeros((), output.dtype))


def _spread(mask: Array | None, value: Array) -> Array | None:
    return None if mask is None else np.broadcast_to(mask[..., np.newaxis], value.shape)


def _mean(values: Sequence[Array], masks: Masks, precision: Precision) -> Array:
    return precision.cast(precision.round(_sum(values, precision))) / len(values)


def _sum(values: Sequence[Array], precision: Precision) -> Array:
    return reduce(lambda a, b: rounded(a + b, precision), values)


def _bind_merge(binding: Binding, combine: Combine, inputs: int | None = None) -> Merge:
    binding.settings.finish()
    return Merge(combine, binding.semantics.merged_mask, binding.precision, inputs)


@replays("Add")
def _bind_add(binding: Binding) -> Layer:
    return _bind_merge(binding, lambda values, masks: _sum(values, binding.precision))


@replays("Average")
def _bind_average(binding: Binding) -> Layer:
    return _bind_merge(binding, partial(_mean, precision=binding.precision))


@replays("Subtract")
def _bind_subtract(binding: Binding) -> Layer:
    return _bind_merge(binding, partial(_fold, function=np.subtract), inputs=2)


@replays("Multiply")
def _bind_multiply(binding: Binding) -> Layer:
    masked = binding.semantics.merged_mask is MergedMask.ANY
    return _bind_merge(binding, _product if masked else partial(_fold, function=np.multiply))


@replays("Maximum", "Minimum")
def _bind_extremum(binding: Binding) -> Layer:
    function = np.maximum if binding.record.class_name == "Maximum" else np.minimum
    masked = binding.semantics.merged_mask is MergedMask.ANY
    return _bind_merge(binding, partial(_extremum if masked else _fold, function=function))


@dataclass(frozen=True, slots=True, eq=False)
class Concatenate:
    """Joins tensors along an axis."""

    axis: int
    masking: MergedMask
    """As in `Merge`."""
    precision: Precision

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Join values and masks."""
        tensors = call.tensors
        values = aligned([tensor.value for tensor in tensors], self.precision)
        axis_in(self.axis, values[0].ndim)
        with fitting(*values):
            result = room.concatenate(values, self.axis)
            return (Tensor(result, self._mask(values, [tensor.mask for tensor in tensors])),)

    def over_time(self, ranks: tuple[int, ...]) -> Ranks | None:
        """See `gateprobe.layers.base.Timewise`."""
        return ranks[:1] if len(set(ranks)) == 1 and beyond_time((self.axis,), ranks[0]) else None

    def _mask(self, values: Sequence[Array], masks: Masks) -> Array | None:
        """Join the masks as if they were tensors, then ask whether all (or any) of a timestep's features are kept."""
        if self.masking is MergedMask.NONE or all(mask is None for mask in masks):
            return None
        parts = [self._expanded(value, mask) for value, mask in zip(values, masks, strict=True)]
        joined = room.concatenate(parts, self.axis)
        kept: Array = np.any(joined, axis=-1) if self.masking is MergedMask.ANY else np.all(joined, axis=-1)
        return kept

    def _expanded(self, value: Array, mask: Array | None) -> Array:
        if mask is None:
            return room.full(value.shape, 1, bool)
        if mask.ndim >= value.ndim:
            return mask
        own = mask[..., np.newaxis]
        return np.broadcast_to(own, value.shape) if self.masking is MergedMask.ANY else own


@replays("Concatenate")
def _bind_concatenate(binding: Binding) -> Layer:
    axis = binding.settings.integer("axis", -1, minimum=-32)
    binding.settings.finish()
    if axis == 0:
        raise Unsupported("config.axis: 0 joins samples, which gateprobe keeps apart")
    return Concatenate(axis, binding.semantics.merged_mask, binding.precision)


@dataclass(frozen=True, slots=True, eq=False)
class Dot:
    """Contracts one axis of each of two tensors, sample by sample."""

    axes: tuple[int, int]
    norm_floor: float | None
    """Divide by the norms along the axes first, but never by less than this."""
    any_rank: bool
    """Whether more than three axes mean the same as with three (Keras 2.3 and later)."""
    precision: Precision

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Return ``(samples, rest of x, rest of y)``; the mask is dropped."""
        values = [self.precision.cast(tensor.value) for tensor in call.tensors]
        if len(values) != 2 or min(value.ndim for value in values) < 2:
            raise InputError("expected two inputs of at least two axes")
        if not self.any_rank and max(value.ndim for value in values) > 3:
            raise InputError("the Dot of this Keras version is not replayed for inputs of more than three axes")
        with fitting(*values):
            x, y = (
                np.moveaxis(self._normalized(value, axis_in(axis, value.ndim)), axis, -1)
                for value, axis in zip(values, self.axes, strict=True)
            )
            return (Tensor(self.precision.round(_contract(x, y))),)

    def _normalized(self, x: Array, axis: int) -> Array:
        if axis == 0:
            raise InputError("cannot contract the sample axis")
        if self.norm_floor is None:
            return x
        return self.precision.round(x / np.maximum(norm(x, axis), held(self.norm_floor, self.precision)))


def held(floor: float, precision: Precision) -> Array:
    """Return the smallest norm by which is divided; neither it nor its square or inverse fits into float16."""
    return np.asarray(0.0 if precision.name == "float16" else floor, precision.dtype)


def norm(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Return the Euclidean norm along axes, which stay with size one."""
    length: Array = np.sqrt(np.square(x).sum(axis=axis, keepdims=True))
    return length


def _contract(x: Array, y: Array) -> Array:
    """Contract the last axes of ``(samples, ..., n)`` and ``(samples, ..., n)``."""
    if x.shape[-1] != y.shape[-1] or len(x) != len(y):
        raise InputError(f"the contracted axes have {x.shape[-1]} and {y.shape[-1]} values")
    left = x.reshape(len(x), int(np.prod(x.shape[1:-1])), x.shape[-1])
    right = y.reshape(len(y), int(np.prod(y.shape[1:-1])), y.shape[-1])
    shape = (len(x), *x.shape[1:-1], *y.shape[1:-1])
    product = room.matmul(left, right.swapaxes(1, 2))
    return product.reshape(shape if len(shape) > 1 else (len(x), 1))


@replays("Dot")
def _bind_dot(binding: Binding) -> Layer:
    settings = binding.settings
    axes = settings.integers("axes", 2, minimum=-32)
    normalizes = settings.flag("normalize", False)
    floor = binding.semantics.dot_norm_floor if normalizes else None
    if normalizes and floor is None:
        raise Unsupported("config.normalize: what the CNTK backend makes of short vectors is not certain")
    settings.finish()
    return Dot((axes[0], axes[1]), floor, binding.semantics.dot_any_rank, binding.precision)
