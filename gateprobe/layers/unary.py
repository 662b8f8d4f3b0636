"""What layers of one input have in common: casting, masks, rounding, and errors that say which shape did not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.layers.base import Arguments, Layer, Precision, Ranks, Scope, Tensor, Value, beyond_time

Function = Callable[[Array], Array]


@dataclass(frozen=True, slots=True, eq=False)
class Unary:
    """A layer that maps one tensor to one tensor."""

    function: Function
    precision: Precision
    keeps_mask: bool = True
    """Whether the input's mask goes on with the output (``supports_masking`` in Keras)."""
    keeps_integers: bool = False
    """Whether integers and booleans stay what they are; otherwise the function sees floats only."""
    along: tuple[int, ...] | None = None
    """The axes along which values see each other or are treated differently; ``None`` where that may be all axes, or
    where the number of axes changes."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Cast, compute, round."""
        tensor = call.tensor
        value = autocast(tensor.value, self.precision) if self.keeps_integers else self.precision.cast(tensor.value)
        with fitting(value):
            result = self.function(value)
        result = rounded(result, self.precision)
        return (Tensor(result, mask_of(call, tensor) if self.keeps_mask else None),)

    def over_time(self, ranks: tuple[int, ...]) -> Ranks | None:
        """See `gateprobe.layers.base.Timewise`."""
        return ranks if self.along is not None and beyond_time(self.along, ranks[0]) else None


@dataclass(frozen=True, slots=True, eq=False)
class Unmasked:
    """A layer that is replayed only where its input has no mask."""

    layer: Layer
    reason: str
    """Of the refusal."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Hand on a call without a mask."""
        if mask_of(call, call.tensor) is not None:
            raise InputError(self.reason, remedy="remove the mask in front of this layer")
        return self.layer.replay(call, scope)


@contextmanager
def fitting(*values: Array) -> Iterator[None]:
    """Compute quietly, as Keras does, and turn NumPy's complaints about shapes into an `InputError`.

    Infinities and NaN arise without a warning in Keras, too.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except InputError:
        raise
    except (ValueError, IndexError, OverflowError, MemoryError) as error:
        shapes = ", ".join(str(value.shape) for value in values)
        raise InputError(f"an input of shape {shapes} does not fit this layer: {error}") from None


def autocast(x: Array, precision: Precision) -> Array:
    """Cast floats to the compute dtype; integers and booleans pass, as through Keras's autocast."""
    return precision.cast(x) if np.issubdtype(x.dtype, np.floating) else x


def whole(values: Array, dtype: str) -> Array:
    """Cast to an integer dtype, towards zero as in Keras.

    Raises:
        InputError: A value does not fit into the dtype: it would wrap around (TensorFlow, NumPy) or be clipped (JAX).
    """
    limits = np.iinfo(dtype)
    cut = np.trunc(values) if values.dtype.kind == "f" else values
    if not values.size or values.dtype.kind == "b" or np.can_cast(values.dtype, dtype):
        return values.astype(dtype)
    fits = (cut >= limits.min) & (cut <= limits.max)
    if cut.dtype.kind == "f":  # the largest integer rounds up to a float that does not fit
        fits &= cut < float(limits.max) + 1
    if not fits.all():
        raise InputError(f"{cut[~fits].flat[0]} does not fit into {dtype}, where Keras makes another number of it")
    return cut.astype(dtype)


def rounded(x: Array, precision: Precision) -> Array:
    """Round floats to what the precision can hold."""
    return precision.round(x) if np.issubdtype(x.dtype, np.floating) else x


def mask_of(call: Arguments, tensor: Tensor) -> Array | None:
    """Return the mask that the call gives explicitly, else the tensor's own."""
    given = call.kwargs.get("mask")
    return tensor.mask if given is None else as_mask(given)


def masks_of(call: Arguments, tensors: tuple[Tensor, ...]) -> tuple[Array | None, ...]:
    """Return one mask for each of several inputs: those that the call gives explicitly, else the tensors' own."""
    given = call.kwargs.get("mask")
    if given is None:
        return tuple(tensor.mask for tensor in tensors)
    if not isinstance(given, (tuple, list)) or len(given) > len(tensors):
        raise InputError(f"expected one mask for each of {len(tensors)} inputs")
    return tuple(None if mask is None else as_mask(mask) for mask in given) + (None,) * (len(tensors) - len(given))


def as_mask(given: Value) -> Array:
    """Return an explicit mask, or the only one of a list, as booleans.

    Raises:
        InputError: It is none.
    """
    if isinstance(given, (tuple, list)) and len(given) == 1:
        given = given[0]
    if not isinstance(given, (Tensor, np.ndarray)):
        raise InputError("expected one mask")
    return np.asarray(given.value if isinstance(given, Tensor) else given, bool)


def axis_in(axis: int, rank: int) -> int:
    """Return a non-negative axis.

    Raises:
        InputError: The input has fewer axes.
    """
    if not -rank <= axis < rank:
        raise InputError(f"axis {axis} does not exist in an input of {rank} axes")
    return axis % rank
