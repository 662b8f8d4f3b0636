"""What stands beside the signals at each timestep: tokens, the model's inputs, its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array
from gateprobe.replay.timelines import Line, Origin, Timelines
from gateprobe.traces.chunk import LABEL, DirectionTrace, TraceChunk
from gateprobe.traces.labeller import Labeller

MAX_FEATURES = 1000
"""Numbers at one timestep: each becomes a column of a table."""
_ELSEWHERE = "choose other layers with --layer"


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Which of it is wanted, and how the model's timesteps go together."""

    lines: Timelines
    inputs: tuple[str, ...] = ()
    """Names of the model's inputs, where they are wanted."""
    outputs: tuple[str, ...] = ()
    """Likewise of its outputs."""
    with_feeds: bool = False
    """Whether what is fed to layers directly is wanted as their input."""
    tokens: Labeller | None = None

    def attached(
        self,
        chunk: TraceChunk,
        given: tuple[Sequence[Array | None], Mapping[str, Array]],
        outputs: Sequence[Array | None],
    ) -> TraceChunk:
        """Return a chunk with its context.

        Args:
            chunk: Of whole timesteps, before anything is selected.
            given: The inputs and the feeds of its samples.
            outputs: The model's outputs for them.

        Raises:
            InputError: A layer has other timesteps than what should stand beside it.
        """
        arrays, feeds = given
        beside = {name: array for name, array in zip(self.inputs, arrays, strict=False) if array is not None}
        fed = feeds if self.with_feeds else {}
        made = dict(zip(self.outputs, outputs, strict=False))

        def context(part: DirectionTrace) -> dict[str, Array]:
            return {
                **dict(self._tokens(part, chunk.samples)),
                **dict(self._inputs(part, beside, fed)),
                **dict(self._outputs(part, made)),
            }

        return replace(chunk, directions=tuple(replace(part, context=context(part)) for part in chunk.directions))

    def _tokens(self, part: DirectionTrace, samples: Array) -> Iterator[tuple[str, Array]]:
        if self.tokens is None:
            return
        whole = part.mask is not None and part.mask.shape[1] == part.length
        rows = []
        for row, sample in enumerate(samples):
            mask = part.mask[row] if whole and part.mask is not None else None
            labels = self.tokens.labels(int(sample), part.timesteps, layer=part.layer, length=part.length, mask=mask)
            if labels is None:
                raise self._elsewhere(part, "tokens")
            rows.append(labels)
        yield LABEL, np.array(rows, np.str_).reshape(len(samples), len(part.timesteps))

    def _inputs(
        self, part: DirectionTrace, inputs: Mapping[str, Array], feeds: Mapping[str, Array]
    ) -> Iterator[tuple[str, Array]]:
        line = self.lines.of(part.layer)
        found = {name: inputs[name] for name in inputs if name in line.named(Origin.INPUT)}
        found |= {name: feeds[name] for name in feeds if name in line.named(Origin.FEED)}
        fitting = {name: array for name, array in found.items() if array.ndim > 1 and array.shape[1] == part.length}
        if (self.inputs or self.with_feeds) and not fitting:
            raise self._elsewhere(part, "an input")
        for name, array in fitting.items():
            yield f"input.{name}", _features(array[:, part.timesteps], f"the input {name}")

    def _outputs(self, part: DirectionTrace, outputs: Mapping[str, Array | None]) -> Iterator[tuple[str, Array]]:
        for (key, value), line in zip(outputs.items(), self.lines.outputs, strict=False):
            if value is None:
                continue
            if value.ndim < 3:
                repeated = np.broadcast_to(value[:, np.newaxis], (len(value), len(part.timesteps), *value.shape[1:]))
            elif line.roots & self.lines.of(part.layer).roots and value.shape[1] == part.length:
                repeated = value[:, part.timesteps]
            else:
                raise InputError(f"the output {key} has {_own(line)}, not those of {part.layer}", remedy=_ELSEWHERE)
            yield f"output.{key}", _features(repeated, f"the output {key}")

    def _elsewhere(self, part: DirectionTrace, what: str) -> InputError:
        line = self.lines.of(part.layer)
        return InputError(f"{part.layer} has {_own(line)}, beside which no {what} can stand", remedy=_ELSEWHERE)


def _own(line: Line) -> str:
    """Say where timesteps come from."""
    made = sorted(root.shown for root in line.roots)
    return f"the timesteps of {', '.join(made)}" if made else "timesteps of its own"


def _features(array: Array, what: str) -> Array:
    """Return ``(samples, timesteps)`` or ``(samples, timesteps, features)``."""
    flat = array.reshape(*array.shape[:2], -1) if array.ndim > 3 else array
    if flat.ndim == 3 and flat.shape[2] > MAX_FEATURES:
        raise InputError(f"{what} has {flat.shape[2]:,} numbers at each timestep; the limit is {MAX_FEATURES:,}")
    return flat
