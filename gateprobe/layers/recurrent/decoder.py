"""The decoder of TensorFlow Addons: ``tfa.seq2seq.BasicDecoder`` with a ``TrainingSampler``.

It steps a cell over its input, sequence by sequence as far as each one's length says, and puts every output through an
output layer. Source: ``tensorflow_addons/seq2seq/{decoder,basic_decoder,sampler}.py`` 0.20.0.

Without ``impute_finished``, its default, the Addons stop only at the longest sequence of a batch: the outputs and the
final states of a shorter one are then those of steps behind its end, and its final states depend on the batch. The
outputs are replayed so. What is traced ends at each sequence's own length: later timesteps are marked as masked, and
hold the states at the length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord, Namespace
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor, tensors_in
from gateprobe.layers.binding.registry import Binding, part_of, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.recurrent.rnn import Recurrent, StackedCells, cells_of
from gateprobe.semantics import MaskedOutput


@dataclass(frozen=True, slots=True, eq=False)
class BasicDecoder:
    """Steps a cell over given inputs (teacher forcing) and puts its outputs through a layer."""

    rnn: Recurrent
    output_layer: Layer | None
    impute_finished: bool
    """Whether a finished sequence holds its states and gives zeros, or goes on to the end of the batch's longest."""
    maximum_iterations: int | None
    lengths_from: str | None
    """What the file proves to give the lengths: ``sequence_length``, ``mask`` or ``timesteps``; ``None``: the call."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Replay one call.

        Args:
            call: The input ``(samples, timesteps, features)``; the initial states, and ``sequence_length``,
                ``(samples,)``, or a mask.
            scope: Of this layer.

        Returns:
            The outputs ``(samples, steps, ...)`` and the numbers of their largest values ``(samples, steps)``, the
            final states, and the lengths ``(samples,)``. There are as many steps as the longest sequence has.
        """
        x = self._input(call)
        lengths = self._lengths(call, x)
        reached = lengths if self.maximum_iterations is None else np.minimum(lengths, self.maximum_iterations)
        steps = int(reached.max())
        if steps > x.shape[1] or (steps == x.shape[1] and lengths.max() > steps):
            raise InputError(f"a sequence_length is {lengths.max()}, the input has {x.shape[1]} timesteps")
        states = tuple(tensors_in(call.get(1, "initial_state")))
        kept = np.arange(x.shape[1]) < reached[:, np.newaxis]
        hidden, final = self._stepped(x, states, kept, steps, scope)
        output = self._projected(hidden, scope)
        ids = np.argmax(output, axis=-1).astype(np.int32)
        if self.impute_finished:
            ids = np.where(kept[:, :steps], ids, 0)
            output = np.where(kept[:, :steps, np.newaxis], output, np.zeros((), output.dtype))
        return (Tensor(output), Tensor(ids), *final, Tensor(reached.astype(np.int32)))

    def _input(self, call: Arguments) -> Array:
        x = call.tensor.value
        if x.ndim != 3:
            raise InputError(f"expected (samples, timesteps, features), got shape {x.shape}")
        return x

    def _lengths(self, call: Arguments, x: Array) -> Array:
        """Return the length of each sequence: given, or that of its mask, or all timesteps."""
        given, mask = call.kwargs.get("sequence_length"), call.kwargs.get("mask")
        mask = call.tensor.mask if mask is None else mask.value
        source = "sequence_length" if given is not None else "mask" if mask is not None else "timesteps"
        if given is not None and mask is not None:
            raise InputError("both a sequence_length and a mask reach the decoder, which its sampler refuses")
        if self.lengths_from not in (None, source):
            raise InputError(f"its lengths come from {source}, those of the saved model from {self.lengths_from}")
        if given is not None:
            return _whole(given.value, len(x))
        if mask is None:
            return np.full(len(x), x.shape[1])
        return _of_mask(mask, x)

    def _stepped(
        self, x: Array, states: tuple[Tensor, ...], kept: Array, steps: int, scope: Scope
    ) -> tuple[Array, tuple[Tensor, ...]]:
        """Step through time; hand over the signals up to each sequence's length."""
        held = None
        if self.impute_finished or self._traced(scope):
            held = self.rnn.replay(Arguments((Tensor(x, kept),), {"initial_state": states}), scope)
        if steps == 0:  # every sequence is empty, so the loop never runs
            units = self.rnn.cells[-1].state_shapes(x.shape[2:])[0]
            return np.zeros((len(x), 0, *units), self.rnn.precision.dtype), states
        if held is None or not (self.impute_finished or kept[:, :steps].all()):
            silent = replace(scope, traced=lambda path: False)
            first = Tensor(x[:, :steps])
            held = self.rnn.replay(Arguments((first,), {"initial_state": states}), silent)
        return held[0].value[:, :steps], held[1:]

    def _traced(self, scope: Scope) -> bool:
        cells = range(len(self.rnn.cells)) if self.rnn.stacked else ()
        return scope.wanted or any(scope.traced(f"{scope.path}/cell_{number}") for number in cells)

    def _projected(self, hidden: Array, scope: Scope) -> Array:
        """Put every step through the output layer, which sees ``(samples, units)``."""
        if self.output_layer is None:
            return hidden
        rows = Tensor(hidden.reshape(-1, hidden.shape[-1]))
        (result, *_) = self.output_layer.replay(Arguments((rows,)), scope.within("output_layer"))
        if result.value.ndim != 2:
            raise InputError(f"the output layer gives shape {result.value.shape}, expected (samples, features)")
        return result.value.reshape(*hidden.shape[:2], result.value.shape[-1])


def _whole(given: Array, samples: int) -> Array:
    lengths = np.asarray(given)
    if lengths.shape != (samples,):
        raise InputError(f"expected a sequence_length for each of {samples} samples, got shape {lengths.shape}")
    if lengths.dtype.kind not in "iu" and not (lengths == np.floor(lengths)).all():
        raise InputError("a sequence_length is not a whole number")
    if (lengths < 0).any():
        raise InputError(f"a sequence_length is {lengths.min()}")
    return lengths.astype(np.int64)


def _of_mask(mask: Array, x: Array) -> Array:
    """Count what a mask keeps, which must stand at the start (``_check_sequence_is_right_padded``)."""
    if mask.shape != x.shape[:2]:
        raise InputError(f"a mask of shape {mask.shape} does not fit an input of shape {x.shape}")
    lengths: Array = mask.sum(axis=1)
    if (mask != (np.arange(x.shape[1]) < lengths[:, np.newaxis])).any():
        raise InputError("the sampler takes masks only where all masked timesteps are at the end of a sequence")
    return lengths


def _parts(record: LayerRecord) -> Mapping[str, LayerRecord]:
    if "unproven" in record.config:
        raise Unsupported(f"{record.config['unproven']}; write its wiring down and give it with --architecture")
    output = record.children.get("output_layer", ())
    return {"cell": part_of(record, "cell"), **({"output_layer": output[0]} if output else {})}


_TAKES = ("inputs", "initial_state", "sequence_length", "mask")


@replays("BasicDecoder", parts=_parts, recurrent=True, namespace=Namespace.ADDONS, takes=_TAKES)
def _bind(binding: Binding) -> BasicDecoder:
    settings, part = binding.settings, binding.parts["cell"]
    settings.choice("sampler", ("training",))
    settings.ignore("cell", "output_layer", "parallel_iterations", "swap_memory")
    if settings.raw("output_layer") is not None and "output_layer" not in binding.parts:
        raise Unsupported("config.output_layer: expected a layer")
    for key in ("sampler_time_major", "output_time_major"):
        if settings.flag(key):
            raise Unsupported(f"config.{key}: samples must stand on the first axis")
    limit = None if settings.raw("maximum_iterations") is None else settings.integer("maximum_iterations")
    decoder = BasicDecoder(
        rnn=_recurrent(binding, part),
        output_layer=binding.parts.get("output_layer"),
        impute_finished=settings.flag("impute_finished"),
        maximum_iterations=limit,
        lengths_from=_lengths_from(settings),
    )
    settings.finish()
    return decoder


def _lengths_from(settings: Settings) -> str | None:
    source = settings.choice("lengths_from", ("sequence_length", "mask", "timesteps", None))
    return None if source is None else str(source)


def _recurrent(binding: Binding, part: Layer) -> Recurrent:
    """Make the loop over the cells, which returns every output and the final states, and zeros where it is masked."""
    return Recurrent(
        cells=cells_of(part),
        stacked=isinstance(part, StackedCells),
        return_sequences=True,
        return_state=True,
        go_backwards=False,
        stateful=False,
        masked_output=MaskedOutput.PREVIOUS_OUTPUT,
        zero_output_for_mask=True,
        zeroes_masked=True,
        reversed_states=isinstance(part, StackedCells) and part.reversed_states,
        precision=binding.precision,
    )
