"""What a bound layer is, what it is called with and what it may ask of the run.

A bound layer holds typed weights and settings and replays one call. It knows neither eras nor files nor batches.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np

from gateprobe.errors import GateprobeWarning, InputError
from gateprobe.graph import Array
from gateprobe.layers.recurrent.kernels.choice import Kernel
from gateprobe.limits import room


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A value on its way through the graph, with the mask that Keras would carry along with it."""

    value: Array
    """``(samples, ...)``."""
    mask: Array | None = None
    """Boolean, usually ``(samples, timesteps)``; ``False`` marks what recurrent layers skip."""
    dtype: str | None = None
    """Its dtype in Keras, where that is not the array's: ``float16`` and ``bfloat16`` values are kept in float32."""
    shared: ClassVar[bool] = False
    """Whether it has no samples: its numbers are the same for every one."""


Value: TypeAlias = Any
"""What a call is given: a `Tensor`, a tuple, list or mapping of values, a slice, or a scalar."""


def tensors_in(value: Value) -> Iterator[Tensor]:
    """Yield the tensors inside a (nested) value in Keras's flattening order (mappings by sorted key)."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from tensors_in(value[key])
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)


@dataclass(frozen=True, slots=True, eq=False)
class Arguments:
    """The positional and keyword arguments of one call, with tensors in place of references."""

    args: tuple[Value, ...] = ()
    kwargs: Mapping[str, Value] = field(default_factory=dict)

    def get(self, position: int, name: str, default: Value = None) -> Value:
        """Return the argument given at ``position`` or by ``name``."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)

    @property
    def tensor(self) -> Tensor:
        """The first argument, which must be one tensor (or a list of one).

        Raises:
            InputError: It is not one tensor.
        """
        first = self.tensors
        if len(first) != 1:
            raise InputError(f"expected one input tensor, got {len(first)}")
        return first[0]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors of the first argument, which may be a list; also when it is given by keyword ``inputs``."""
        return tuple(tensors_in(self.get(0, "inputs")))


class Stopped(Exception):
    """The results of a batch are not wanted any more; only the run that said so sees this."""


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """What the run offers to one call of one layer."""

    path: str
    """Layer path, with ``:n`` for further calls."""
    traced: Callable[[str], bool]
    """Whether the signals of the recurrent layer at a path are wanted."""
    deliver: Callable[..., None]
    """Takes what a recurrent layer computed, see `emit`, with the path in front; the run decides what becomes of it."""
    states: dict[tuple[str, ...], tuple[Array, ...]] = field(default_factory=dict)
    """States carried from call to call and batch to batch by stateful layers, by owner and direction."""
    pre_activations: bool = False
    """Whether the ``pre_`` signals are wanted too."""
    cell_runs: bool = False
    """Whether what the cells ran on is wanted too; it holds memory that the run could use again."""
    feeds: Mapping[str, Array] = field(default_factory=dict)
    """Arrays given in place of a layer's input (by path), its mask (``path.mask``) or states."""
    kernel: Kernel = field(default_factory=Kernel)
    """How recurrent layers compute."""
    padded: bool = False
    """Whether the batch is one sample and a copy of it, which the run will cut off."""
    samples: int = 0
    """How many samples there are; a tensor may hold several rows for each, one after the other. 0: not known."""
    owner: tuple[str, ...] = ()
    """Which layer this is, whatever the number of the call: a stateful layer has one state for all of them."""
    max_bytes: int | None = None
    """How much a batch may hold at a time, see `gateprobe.limits.room`."""
    slab: bool = False
    """Whether this is one of several calls, each with a slab of the timesteps: recurrent layers go on where the slab
    before ended."""
    stop: Event = field(default_factory=Event)
    """Is set when the results are no longer wanted."""

    @property
    def wanted(self) -> bool:
        """Whether the signals of this layer are wanted."""
        return self.traced(self.path)

    def go_on(self) -> None:
        """Return at once while results are wanted.

        Raises:
            Stopped: They are not.
        """
        if self.stop.is_set():
            raise Stopped

    def emit(
        self,
        *,
        direction: str,
        backwards: bool,
        signals: Mapping[str, Array],
        mask: Array | None,
        ran: Any,
        part: str | None = None,
    ) -> None:
        """Hand over the signals of one direction of one call.

        Args:
            direction: ``forward`` or ``backward``.
            backwards: Whether the layer read its input from the last timestep to the first.
            signals: Name to ``(samples, timesteps, units)``, timesteps in the order of the input; gates are not yet
                blanked at masked timesteps.
            mask: ``(samples, timesteps)`` or ``None``.
            ran: The `gateprobe.layers.recurrent.cells.CellRun` that gave them.
            part: ``cell_n`` for the n-th cell of stacked cells.
        """
        path = self.path if part is None else f"{self.path}/{part}"
        room.hold(signals.values())
        self.deliver(path, direction=direction, backwards=backwards, signals=signals, mask=mask, ran=ran)

    def within(self, name: str, *, owner: str | None = None) -> Scope:
        """The scope of one call of a layer inside this one, named ``owner`` without the number of the call."""
        path = f"{self.path}/{name}" if self.path else name
        return replace(self, path=path, owner=(*self.owner, name if owner is None else owner))


class Layer(Protocol):
    """A layer with its weights, ready to replay a call."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Compute what Keras's ``call`` returns at inference, as a flat tuple of tensors with their masks."""


Ranks: TypeAlias = tuple[int | None, ...]
"""Numbers of axes of sequences ``(samples, timesteps, ...)``; ``None`` for what is no sequence of all timesteps."""


@runtime_checkable
class Timewise(Protocol):
    """A layer that may be given one slab of timesteps after another; one without this method may not."""

    def over_time(self, ranks: tuple[int, ...]) -> Ranks | None:
        """Say whether slabs give what the whole sequences give, because nothing looks ahead.

        Args:
            ranks: Of the inputs, all sequences of the same timesteps.

        Returns:
            The ranks of the outputs (of those that are left out, ``None``), or ``None`` when slabs would not do.
        """


@runtime_checkable
class Tokenizer(Protocol):
    """A layer that turns each text into a row of ids."""

    @property
    def pads_to_longest(self) -> bool:
        """Whether the length of the rows depends on the texts that it is given."""

    @property
    def row_length(self) -> int | None:
        """That of every row of ids; ``None`` where it is not known, or there are codes and no ids."""

    def tokens(self, values: Array) -> list[list[str]]:
        """Return the tokens of each text."""

    def padded(self, length: int) -> Layer:
        """Return the layer with a length for every row."""


def beyond_time(axes: tuple[int, ...], rank: int) -> bool:
    """Whether axes exist and none of them is that of the samples or of the timesteps."""
    return all(-rank <= axis < rank and axis % rank > 1 for axis in axes)


@dataclass(frozen=True, slots=True)
class Precision:
    """How a layer computes: a NumPy dtype, and for half precision a rounding after every operation.

    NumPy has no bfloat16 and multiplies float16 matrices slowly, so half-precision values are kept in float32 and
    rounded to what the half type can hold. TensorFlow, too, accumulates half-precision products in float32.
    """

    name: str
    """``float32``, ``float64``, ``float16`` or ``bfloat16``."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the arrays."""
        return np.dtype(np.float64 if self.name == "float64" else np.float32)

    @property
    def exact(self) -> bool:
        """Whether no rounding is needed after an operation."""
        return self.name in ("float32", "float64")

    def cast(self, x: Array) -> Array:
        """Return ``x`` as Keras's autocast would: in the compute dtype. Integers and booleans become floats too.

        A note says when finite numbers of float64 become infinite, as they do in Keras.
        """
        if x.dtype != np.float64 or self.name == "float64":
            return self.round(x.astype(self.dtype, copy=False))
        with np.errstate(over="ignore"):
            cast = self.round(x.astype(self.dtype))
        lost = np.isinf(cast) & np.isfinite(x)
        if lost.any():
            text = f"a float64 number is too large for {self.name}, in which the model computes: it becomes infinite"
            warnings.warn(text, GateprobeWarning, stacklevel=2)
        return cast

    def round(self, x: Array) -> Array:
        """Round ``x`` to the values that the half type can hold; the same array when the precision is full."""
        if self.name == "float16":
            with np.errstate(over="ignore"):
                return x.astype(np.float16).astype(np.float32)
        if self.name == "bfloat16":
            return _round_to_bfloat16(x)
        return x

    def round_in_place(self, x: Array) -> None:
        """Round ``x`` in place; costs nothing when the precision is full."""
        if not self.exact:
            np.copyto(x, self.round(x))


def _round_to_bfloat16(x: Array) -> Array:
    """Round float32 to the nearest bfloat16 (8 bits of exponent, 7 of mantissa), ties to even."""
    bits = np.atleast_1d(np.asarray(x, np.float32)).view(np.uint32)  # a single number would become int64 in NumPy 1
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    floats = rounded.view(np.float32).reshape(np.shape(x))
    return np.where(np.isfinite(x), floats, x).astype(np.float32, copy=False)


FLOAT32, FLOAT64 = Precision("float32"), Precision("float64")
