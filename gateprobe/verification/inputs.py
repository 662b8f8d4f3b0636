"""Inputs made from the graph, for a model that is verified without any.

Token ids within the vocabulary, masked rows and gaps where a mask exists, values large enough to saturate gates,
several lengths where the length is free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Array, Call, LayerRecord, ModelRecord, TensorRef, references
from gateprobe.inputs.samples import InputSpec
from gateprobe.verification.result import InputSet

SAMPLES = 6
LENGTHS = (11, 1, 4)
"""Lengths to try where a model takes any."""
_BUDGET = 1 << 22
"""The largest number of values in one input; longer inputs get fewer samples."""


@dataclass(slots=True)
class Use:
    """What a model does with an input."""

    vocabulary: int | None = None
    """Token ids are below this."""
    masked_id: bool = False
    """Whether token 0 is masked."""
    mask_value: float | None = None
    """The value that a Masking layer hides when a whole timestep has it."""
    words: tuple[str, ...] = ()
    """Those that a layer which reads text knows."""
    sentences: bool = False
    """Whether it takes texts of several words apart."""


_Readers: TypeAlias = dict[TensorRef, list[tuple[LayerRecord, int, int]]]
"""For each tensor the calls that read it: layer, number of the call, place among its arguments (0 for a named one)."""


def _readers_in(model: ModelRecord) -> _Readers:
    found: _Readers = {}
    for record in model.layers:
        for number, call in enumerate(record.calls):
            for ref, position in _positions(call).items():
                found.setdefault(ref, []).append((record, number, position))
    return found


def _positions(call: Call) -> dict[TensorRef, int]:
    """Return the first place of every tensor that a call reads."""
    found: dict[TensorRef, int] = {}
    for position, ref in enumerate(references(call.args)):
        found.setdefault(ref, position)
    return found | {ref: found.get(ref, 0) for ref in references(call.kwargs)}


@dataclass(slots=True)
class _Search:
    """Follows a tensor through the graph as long as its values stay what they are."""

    use: Use = field(default_factory=Use)
    _readers: dict[int, _Readers] = field(default_factory=dict)
    """What reads each tensor of a model, by the model's id."""

    def follow(self, model: ModelRecord, ref: TensorRef) -> None:
        """Go into the depth first (no recursion: graphs may be deep)."""
        seen = {(id(model), ref)}
        stack = [self._further(model, ref)]
        while stack:
            place = next(stack[-1], None)
            if place is None:
                stack.pop()
            elif (id(place[0]), place[1]) not in seen:
                seen.add((id(place[0]), place[1]))
                stack.append(self._further(*place))

    def _further(self, model: ModelRecord, ref: TensorRef) -> Iterator[tuple[ModelRecord, TensorRef]]:
        """Note what reads a tensor, and yield the tensors with its values."""
        if id(model) not in self._readers:
            self._readers[id(model)] = _readers_in(model)
        for record, call, position in self._readers[id(model)].get(ref, ()):
            if record.model is not None:
                yield from ((record.model, source) for source in record.model.inputs[position : position + 1])
                continue
            self._note(record)
            for child in record.children.get("layer", ()) if record.class_name == "TimeDistributed" else ():
                self._note(child)
                if child.model is not None:
                    yield child.model, child.model.inputs[0]
            if record.class_name in _UNCHANGED:
                yield model, TensorRef(record.name, call)

    def _note(self, record: LayerRecord) -> None:
        if record.class_name == "Embedding":
            size = record.config.get("input_dim")
            if isinstance(size, int):
                self.use.vocabulary = min(size, self.use.vocabulary or size)
            self.use.masked_id |= bool(record.config.get("mask_zero"))
        elif record.class_name in ("TextVectorization", "StringLookup"):
            known = record.config.get("vocabulary")
            self.use.words = tuple(word for word in known if isinstance(word, str)) if isinstance(known, list) else ()
            self.use.sentences |= record.class_name == "TextVectorization"
        elif record.class_name == "Masking":
            value = record.config.get("mask_value", 0.0)
            self.use.mask_value = float(value) if isinstance(value, (int, float)) else 0.0


_UNCHANGED = frozenset(
    "Dropout SpatialDropout1D SpatialDropout2D GaussianNoise GaussianDropout Activation Identity Reshape Flatten "
    "Permute RepeatVector Concatenate Masking TimeDistributed NotEqual Cast ActivityRegularization".split()
)


def use_of(model: ModelRecord, ref: TensorRef) -> Use:
    """Find out what a model does with one of its inputs."""
    search = _Search()
    search.follow(model, ref)
    return search.use


def generate(
    model: ModelRecord, specs: tuple[InputSpec, ...], *, seed: int, samples: int | None, batch: int | None
) -> Iterator[InputSet]:
    """Make inputs for a model: one set for each length to try.

    Args:
        model: The graph.
        specs: Name, shape and dtype of each input.
        seed: Of the random numbers.
        samples: How many in a set.
        batch: Number of samples in a batch of a stateful model.

    Raises:
        InputError: The file does not say enough about an input.
    """
    uses = {ref.layer: use_of(model, ref) for ref in model.inputs}
    free = any(None in _shape(spec)[1:] for spec in specs)
    for length in LENGTHS if free else LENGTHS[:1]:
        rng = np.random.default_rng([seed, length])
        count = 2 * batch if batch is not None else _count(specs, length, samples)
        made = {spec.name: _one(spec, uses[spec.name], length, count, rng) for spec in specs}
        described = "; ".join(_described(spec, uses[spec.name], made[spec.name]) for spec in specs)
        yield InputSet(described, made)


def _shape(spec: InputSpec) -> tuple[int | None, ...]:
    if spec.shape is None:
        raise InputError(f"the file does not say the shape of input {spec.name!r}", remedy="give the inputs yourself")
    return spec.shape


def _count(specs: tuple[InputSpec, ...], length: int, samples: int | None) -> int:
    largest = max(int(np.prod([size or length for size in _shape(spec)[1:]])) for spec in specs)
    return max(1, min(samples or SAMPLES, _BUDGET // max(largest, 1)))


def _one(spec: InputSpec, use: Use, length: int, count: int, rng: np.random.Generator) -> Array:
    shape = (count, *(size or length for size in _shape(spec)[1:]))
    if spec.texts:
        return _texts(shape, use, length, rng)
    dtype = np.dtype(spec.dtype if spec.dtype in KNOWN_DTYPES else "float32")
    if use.vocabulary is not None:
        return _tokens(shape, use, rng).astype(dtype)
    if dtype.kind in "iu":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    values = rng.standard_normal(shape)
    values[count // 2 :] *= 8.0  # large enough to drive gates into saturation
    if use.mask_value is not None and values.ndim >= 3:
        values[_masked(shape[:2], rng)] = use.mask_value
    return values.astype(dtype)


_FORMS = (str, str.upper, str.title, "({}),".format, "{}!".format, "\u00e9{}".format)
"""How a known word may stand in a text."""


def _texts(shape: tuple[int, ...], use: Use, length: int, rng: np.random.Generator) -> Array:
    """Return texts of known words, some of them in capitals, with punctuation, or unknown."""
    words = [word for word in use.words if word.strip()] or ["a"]

    def text() -> str:
        count = int(rng.integers(1, length + 1)) if use.sentences else 1
        return " ".join(_FORMS[rng.integers(len(_FORMS))](words[rng.integers(len(words))]) for _ in range(count))

    return np.array([text() for _ in range(int(np.prod(shape)))], np.str_).reshape(shape)


KNOWN_DTYPES = frozenset("float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool".split())


def _tokens(shape: tuple[int, ...], use: Use, rng: np.random.Generator) -> Array:
    size = use.vocabulary or 1
    tokens = rng.integers(1 if use.masked_id and size > 1 else 0, size, shape)
    if use.masked_id and len(shape) >= 2:
        tokens[_masked(shape[:2], rng)] = 0
    return tokens


def _masked(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return where to mask: nothing, a tail, a beginning, gaps, everything, and again."""
    masked = np.zeros(shape, bool)
    timesteps = shape[1]
    for row in range(shape[0]):
        kind, cut = row % 5, int(rng.integers(1, max(timesteps, 2)))
        if kind == 1:
            masked[row, cut:] = True
        elif kind == 2:
            masked[row, : timesteps - cut] = True
        elif kind == 3:
            masked[row] = rng.random(timesteps) < 0.4
        elif kind == 4:
            masked[row] = True
    return masked


def _described(spec: InputSpec, use: Use, array: Array) -> str:
    shape = "x".join(map(str, array.shape))
    if spec.texts:
        what = f"texts of {len(use.words)} known words and others"
    elif use.vocabulary is not None:
        what = f"token ids 0 to {use.vocabulary - 1}"
    elif array.dtype.kind in "iub":
        what = f"{array.dtype} 0 and 1"
    else:
        what = "normal, half of the samples 8 times as large"
    masked = use.masked_id or use.mask_value is not None
    return f"{spec.name} {shape} {what}{', some timesteps masked' if masked else ''}"
