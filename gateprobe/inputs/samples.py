"""The input side: arrays and files, checked against what the model takes, read in blocks of samples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import numpy as np

from gateprobe.errors import InputError, Way, choices
from gateprobe.files.remote import is_url
from gateprobe.graph import Array
from gateprobe.inputs import texts as text_files
from gateprobe.inputs.array_files import UNPACKED_LIMIT, RemoteRows, Rows, release_pages
from gateprobe.inputs.files import STDIN, Shape, Source, file_of, from_memory, read_input
from gateprobe.inputs.word_ids import Converter, WordIds

_PIECE = 1 << 20
"""Bytes that are looked through at once."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model takes as one of its inputs."""

    name: str
    shape: Shape | None
    """With the samples axis, ``None`` for axes of any size; ``None`` when the file does not say."""
    dtype: str = "float32"
    layer: str | None = None
    """The only layer that reads it, in a file of weights alone."""
    ids: bool = False
    """Whether it takes token ids, ``(samples, timesteps)``: an Embedding or the like reads it, or it takes integers."""

    @property
    def texts(self) -> bool:
        """Whether it takes texts."""
        return self.dtype == "string"

    @property
    def shown(self) -> str:
        """The shape for messages: ``(samples, timesteps, 3)``."""
        words = ["samples", "timesteps"] if len(self.shape or ()) == 3 else ["samples"]
        words += ["any"] * len(self.shape or ())
        return _shown(words[n] if size is None or n == 0 else size for n, size in enumerate(self.shape or ()))


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The samples of a run."""

    names: tuple[str, ...]
    """The model's inputs, in their order."""
    arrays: tuple[Rows | None, ...]
    """One for each of ``names``; ``None`` for an input that feeds make unnecessary."""
    feeds: Mapping[str, Rows]
    """What is given to layers directly: ``LAYER``, ``LAYER.mask``, ``LAYER.initial_state[k]`` → array."""
    count: int
    """Number of samples."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    words: Mapping[str, WordIds] = field(default_factory=dict)
    """The words of inputs that were texts and became ids."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to texts to make ids of them."""
        return tuple(dict.fromkeys(one.said for one in self.words.values()))

    @property
    def digests(self) -> Mapping[str, str]:
        """The sha256 of everything given, by name; computed now, which reads all of it."""
        return {name: source.digest() for name, source in self.sources.items()}

    @property
    def files(self) -> str:
        """The files that were given, for messages."""
        return ", ".join(dict.fromkeys(source.name for source in self.sources.values() if source.name))

    def check(self) -> None:
        """Look whether the files that are still being read are those that were opened.

        Raises:
            InputError: One was changed.
        """
        for source in self.sources.values():
            if source.mapped is not None:
                source.mapped.check()

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of each input, samples first; empty for an input that feeds make unnecessary."""
        return tuple(() if array is None else array.shape for array in self.arrays)

    @property
    def fed(self) -> bool:
        """Whether anything is given to layers directly."""
        return bool(self.feeds)

    def block(
        self, numbers: Array, timesteps: slice = slice(None)
    ) -> tuple[tuple[Array | None, ...], dict[str, Array]]:
        """Return the rows of some samples.

        Args:
            numbers: ``(samples,)``; may repeat.
            timesteps: Of the inputs' second axis, if not all.

        Returns:
            One array for each input in the model's order, and the feeds.

        Raises:
            InputError: A file was changed since it was opened.
        """
        self.check()
        for source in self.sources.values():
            release_pages(source.array)
        arrays = tuple(None if array is None else _rows(array, numbers, timesteps) for array in self.arrays)
        return arrays, {name: _rows(array, numbers) for name, array in self.feeds.items()}

    def input(self, number: int, numbers: Array) -> Array | None:
        """Return some samples of one input; ``None`` where feeds make it unnecessary."""
        self.check()
        array = self.arrays[number]
        return None if array is None else _rows(array, numbers)

    def fetch(self, numbers: Array) -> None:
        """Fetch what is far away and will be asked for: all of it at once."""
        if int(numbers[-1]) - int(numbers[0]) + 1 == len(numbers):
            for array in (*self.arrays, *self.feeds.values()):
                if isinstance(array, RemoteRows):
                    array.fetch(int(numbers[0]), int(numbers[-1]) + 1)

    def fingerprint(self, numbers: Array) -> str:
        """Return a digest of some samples by which two processes can tell that they read the same files."""
        digest = hashlib.sha256()
        for source in self.sources.values():
            digest.update(f"{source.array.shape} {source.array.dtype}".encode())
            digest.update(_digest_of(source, numbers))
        return digest.hexdigest()

    def first_nan(self) -> tuple[str, int] | None:
        """Return name and sample of the first NaN, reading block by block; ``None`` when there is none.

        What is read by URL is not read again.
        """
        for name, source in self.sources.items():
            if source.array.dtype.kind != "f" or isinstance(source.array, RemoteRows):
                continue
            step = max(1, _PIECE // max(1, source.array[:1].nbytes))
            for start in range(0, self.count, step):
                block = source.array[start : start + step]
                parts = np.array_split(block, -(-block.nbytes // _PIECE), axis=1) if block.ndim > 1 else [block]
                found = np.zeros(len(block), bool)
                for part in parts:
                    found |= np.isnan(part).any(axis=tuple(range(1, part.ndim)))
                    release_pages(source.array)
                if found.any():
                    return name, start + int(found.argmax())
        return None


def _digest_of(source: Source, numbers: Array) -> bytes | memoryview:
    """Return what some samples are known by; what is far away is known by its version."""
    if isinstance(source.array, RemoteRows):
        return source.digest().encode()
    rows = _rows(source.array, numbers)
    return text_files.digest(rows).encode() if text_files.is_text(rows) else rows.data


def load(
    specs: Sequence[str],
    inputs: Sequence[InputSpec],
    feeds: Sequence[str] = (),
    *,
    max_bytes: int | None = None,
    texts: Sequence[str] = (),
    converter: Converter | None = None,
) -> Samples:
    """Open the files that a user names.

    Args:
        specs: ``FILE`` in the order of the model's inputs, or ``NAME=FILE``; ``FILE.npz[key]``; ``-`` is standard
            input. An ``.npz`` with exactly the model's input names gives them all.
        inputs: What the model takes.
        feeds: ``LAYER=FILE``, ``LAYER.mask=FILE``, ``LAYER.initial_state[k]=FILE``.
        max_bytes: Limit for what is unpacked or read into memory, instead of 1 GiB.
        texts: The samples of the input that takes texts, instead of a file.
        converter: Makes ids of texts for inputs that take ids.

    Raises:
        InputError: A file cannot be read, or it does not fit the model.
    """
    limit = UNPACKED_LIMIT if max_bytes is None else max_bytes
    pairs = [split_spec(spec) for spec in specs]
    for name, _ in pairs:
        if name is not None:
            _spec_of(name, inputs)
    fed = [split_feed(feed) for feed in feeds]
    if [file for _, file in (*pairs, *fed)].count(STDIN) > 1:
        raise InputError("standard input can be read only once")
    typed = _typed(texts, inputs, converter)
    given = _assigned(pairs, inputs, limit, typed, converter)
    sources = {key: read_input(file, _table_shape(key), limit)[""] for key, file in fed}
    return _samples(given, inputs, sources, "FILE or NAME=FILE", converter)


def _typed(texts: Sequence[str], inputs: Sequence[InputSpec], converter: Converter | None) -> dict[str, Source]:
    """Return the texts that were given on the command line, for the input that takes them."""
    if not texts:
        return {}
    takers = [spec.name for spec in inputs if spec.texts or (converter is not None and spec.ids)]
    if len(takers) != 1:
        said = f"several inputs take texts: {', '.join(takers)}" if takers else "no input of the model takes texts"
        ids = not takers and converter is None and any(spec.ids for spec in inputs)
        remedy = "give the model's vocabulary with --vocab=FILE" if ids else "give a file for each input"
        raise InputError(f"texts were given, and {said}", remedy=remedy)
    array = text_files.as_array(texts)
    return {takers[0]: Source("the given texts", array, partial(text_files.digest, array))}


def files_of(specs: Iterable[str], feeds: Iterable[str] = ()) -> Iterator[str]:
    """Yield the files that `load` would read."""
    for spec in specs:
        yield file_of(split_spec(spec)[1])
    for feed in feeds:
        yield file_of(split_feed(feed)[1])


def from_arrays(
    x: object,
    inputs: Sequence[InputSpec],
    feeds: Mapping[str, object] | None = None,
    converter: Converter | None = None,
) -> Samples:
    """Take what a caller gives from Python.

    Args:
        x: An array (or nested lists of numbers) for a model with one input; a list of arrays in the model's order, or
            a mapping by name, for several; ``None`` when feeds make the inputs unnecessary.
        inputs: What the model takes.
        feeds: As in `load`, with arrays in place of files.
        converter: As in `load`.

    Raises:
        InputError: The arrays do not fit the model.
    """
    if isinstance(x, Samples):
        return x
    by_name = _named(x, inputs)
    for spec in inputs:
        _refuse_file_name(by_name.get(spec.name), spec)
    given = {name: from_memory(name, value) for name, value in by_name.items()}
    sources = {key: from_memory(key, value) for key, value in (feeds or {}).items()}
    return _samples(given, inputs, sources, "an array", converter)


def _refuse_file_name(value: object, spec: InputSpec) -> None:
    """Refuse the name of a file in place of what it holds."""
    if isinstance(value, os.PathLike) or (
        isinstance(value, str) and not spec.texts and os.path.isfile(value)  # noqa: PTH113 - takes any text
    ):
        name = os.fspath(value)
        remedy = f"load it first, such as with numpy.load({name!r})"
        raise InputError(f"input {spec.name!r} is {name!r}, the name of a file", remedy=remedy)


def _named(x: object, inputs: Sequence[InputSpec]) -> dict[str, object]:
    """Return what was given for each input."""
    if x is None:
        return {}
    if isinstance(x, Mapping):
        for name in x:
            _spec_of(str(name), inputs)
        return {str(name): value for name, value in x.items()}
    if len(inputs) == 1:
        rank = len(inputs[0].shape or ())
        listed = isinstance(x, (list, tuple)) and len(x) == 1 and rank > 0 and np.ndim(x[0]) == rank
        return {inputs[0].name: cast("Sequence[object]", x)[0] if listed else x}
    if isinstance(x, (list, tuple)) and len(x) == len(inputs):
        return {spec.name: value for spec, value in zip(inputs, x, strict=True)}
    raise InputError(f"the model takes {len(inputs)} inputs", remedy=f"give {_listed(inputs)} as a list or a dict")


def split_spec(spec: str) -> tuple[str | None, str]:
    """Return the input's name, if ``NAME=FILE`` gives one, and the file."""
    name, equals, file = spec.partition("=")
    if not equals or is_url(spec) or os.path.exists(spec):  # noqa: PTH110 - takes any text
        return None, spec
    return name, file


def _spec_of(name: str, inputs: Sequence[InputSpec]) -> InputSpec:
    for spec in inputs:
        if spec.name == name:
            return spec
    raise InputError(f"the model has no input {name!r}", remedy=choices((spec.name for spec in inputs), name))


def split_feed(feed: str) -> tuple[str, str]:
    """Return the layer, or its mask or state, and the file of ``LAYER=FILE``."""
    layer, equals, file = feed.partition("=")
    if not equals or not layer or not file:
        raise InputError(f"--feed={feed}: expected LAYER=FILE")
    return layer, file


def _assigned(
    pairs: Sequence[tuple[str | None, str]],
    inputs: Sequence[InputSpec],
    limit: int,
    typed: Mapping[str, Source],
    converter: Converter | None,
) -> dict[str, Source]:
    """Read the files and give each to its input: by name, or to the next one that has no name on the command line."""
    by_name = {name for name, _ in pairs} | set(typed)
    free = iter([spec for spec in inputs if spec.name not in by_name])
    given: dict[str, Source] = dict(typed)
    for name, file in pairs:
        spec = next(free, None) if name is None else _spec_of(name, inputs)
        if spec is None:
            beside = ", besides the texts that were given" if typed else ""
            remedy = None if os.path.exists(file) else f"to write to it, use -o {file}"  # noqa: PTH110 - takes any text
            reason = f"is one file too many: the model takes {_listed(inputs)}{beside}"
            raise InputError(reason, file=file, remedy=remedy)
        either = converter is not None and spec.ids
        texts_of = spec.name if spec.texts or either else None
        names = [one.name for one in inputs] if name is None and len(pairs) == 1 else []
        for part, source in read_input(file, spec.shape, limit, names, texts_of=texts_of, or_numbers=either).items():
            if (part or spec.name) in given:
                raise InputError(f"input {spec.name!r} is given twice", file=file)
            given[part or spec.name] = source
    return given


def _table_shape(key: str) -> Shape:
    """Return the shape to expect in a table that feeds a layer: a mask and a state have two axes."""
    plain = not (key.endswith(".mask") or ".initial_state[" in key)
    return (None, None, None) if plain else (None, None)


def _samples(
    given: Mapping[str, Source],
    inputs: Sequence[InputSpec],
    fed: Mapping[str, Source],
    form: str,
    converter: Converter | None,
) -> Samples:
    """Check everything against the model and against each other; ``form`` says how an input is given."""
    missing = [spec for spec in inputs if spec.name not in given]
    if missing and not fed:
        alone = tuple(spec.layer for spec in inputs if spec.layer is not None and spec.name in given)
        way = Way(("gateprobe", "dump"), layers=alone) if alone else None
        remedy = f"give {_listed(missing)} as {form}{', or trace what you gave an input for' * bool(alone)}"
        raise InputError("an input is missing", remedy=remedy, way=way)
    words = {} if converter is None else dict(_converted(given, inputs, converter))
    given = {**given, **{name: replace(given[name], array=one.ids) for name, one in words.items()}}
    given = {**given, **{spec.name: _taken(given[spec.name], spec) for spec in inputs if spec.name in given}}
    for key, source in fed.items():
        _check(source, InputSpec(key, None))
        if key.endswith(".mask") and not np.isin(np.asarray(source.array), (0, 1)).all():
            raise InputError("a mask holds 0 and 1 only", file=source.name or key)
    sources = {**given, **fed}
    counts = {name: len(source.array) for name, source in sources.items()}
    if len(set(counts.values())) > 1:
        raise InputError("the inputs differ in their number of samples: " + _listed_counts(sources))
    return Samples(
        tuple(spec.name for spec in inputs),
        tuple(given[spec.name].array if spec.name in given else None for spec in inputs),
        {key: _fed(key, source.array) for key, source in fed.items()},
        next(iter(counts.values()), 0),
        sources,
        words,
    )


def _converted(
    given: Mapping[str, Source], inputs: Sequence[InputSpec], converter: Converter
) -> Iterator[tuple[str, WordIds]]:
    """Yield the ids of what is given as texts for inputs that take ids."""
    for spec in inputs:
        source = given.get(spec.name)
        if source is not None and spec.ids and text_files.is_text(source.array):
            texts = np.asarray(source.array)
            if not texts.size or texts.size != len(texts):
                reason = f"has the shape {_shown(texts.shape)}, where one text for each sample belongs"
                raise InputError(reason, file=source.name or f"input {spec.name!r}")
            length = spec.shape[1] if spec.shape is not None else None
            yield spec.name, converter.ids(texts.ravel(), length)


def _fed(key: str, array: Rows) -> Rows:
    return np.asarray(array).astype(np.bool_) if key.endswith(".mask") else array


def _listed_counts(sources: Mapping[str, Source]) -> str:
    return ", ".join(f"{source.name or name} has {len(source.array)}" for name, source in sources.items())


def _taken(source: Source, spec: InputSpec) -> Source:
    """Check an array; texts get the last axis of size one that the model takes, or lose it."""
    if spec.texts and spec.shape is not None and text_files.is_text(source.array):
        array = np.asarray(source.array) if isinstance(source.array, RemoteRows) else source.array
        if array.ndim == 1 and spec.shape[1:] == (1,):
            source = replace(source, array=array[:, np.newaxis])
        elif array.ndim == 2 and array.shape[1] == 1 and len(spec.shape) == 1:
            source = replace(source, array=array[:, 0])
    _check(source, spec)
    return source


def _check(source: Source, spec: InputSpec) -> None:
    """Compare an array with what the model takes.

    Raises:
        InputError: It does not fit; the message names both shapes.
    """
    shape, wanted = source.array.shape, spec.shape
    where = source.name or f"input {spec.name!r}"
    if text_files.is_text(source.array) is not spec.texts:
        held, taken = ("numbers", "texts") if spec.texts else ("texts", "numbers")
        remedy = "give texts: a file with one sample a line, or a column of a table" if spec.texts else None
        if spec.ids:
            remedy = "give the model's vocabulary with --vocab=FILE, which makes token ids of texts"
        raise InputError(f"holds {held}, but input {spec.name!r} takes {taken}", file=where, remedy=remedy)
    if not shape:
        raise InputError(f"holds a single number, but input {spec.name!r} takes {spec.shown}", file=where)
    if 0 in shape:
        what = "no samples" if shape[0] == 0 else "an axis without values"
        raise InputError(f"has {what}: shape {_shown(shape)}", file=where)
    if wanted is None:
        return
    if not _fits(shape, wanted):
        reason = f"has the shape {_shown(shape)}, but input {spec.name!r} takes {spec.shown}"
        raise InputError(reason, file=where, remedy=_reshaped(shape, wanted, in_lines=source.in_lines))


def _fits(shape: Shape, wanted: Shape) -> bool:
    """Whether an array may have the shape that the model takes, whatever the number of samples."""
    return len(shape) == len(wanted) and all(b is None or a == b for a, b in zip(shape[1:], wanted[1:], strict=True))


def _reshaped(shape: Shape, wanted: Shape, *, in_lines: bool) -> str | None:
    """Return how an array gets the axes that it lacks, if that is all it lacks."""
    if in_lines and len(wanted) > 1 and shape[1:] == (1,) * (len(wanted) - 1) and wanted[1] == shape[0]:
        return f"write one sample per line: its {shape[0]} values side by side"
    for made, how in (
        ((1, *shape), "for a single sample put an axis in front: x[numpy.newaxis]"),
        ((*shape, 1), "put an axis for the only feature behind: x[..., numpy.newaxis]"),
        ((1, *shape, 1), "for a single sample of one feature: x[numpy.newaxis, ..., numpy.newaxis]"),
    ):
        if _fits(made, wanted):
            return how
    return None


def _rows(array: Rows, numbers: Array, timesteps: slice = slice(None)) -> Array:
    """Return some rows in native byte order and C order; a view of arrays in memory where that is possible.

    Rows of a mapped file are copied: another thread may still compute on them when the file is cut, and would end the
    program by a bus error.
    """
    first, last = int(numbers[0]), int(numbers[-1])
    run = last - first + 1 == len(numbers) and bool(np.all(np.diff(numbers) == 1))
    rows = array[first : last + 1] if run else array[numbers]
    rows = rows if timesteps == slice(None) else rows[:, timesteps]
    dtype = rows.dtype.newbyteorder("=")
    return np.array(rows, dtype, order="C") if isinstance(array, np.memmap) else np.ascontiguousarray(rows, dtype)


def _shown(shape: Iterable[object]) -> str:
    return str(tuple(shape)).replace("'", "")


_LISTED = 20
"""How many inputs a message lists."""


def _listed(inputs: Sequence[InputSpec]) -> str:
    more = f" and {len(inputs) - _LISTED} more" if len(inputs) > _LISTED else ""
    return ", ".join(f"{spec.name} {spec.shown}" for spec in inputs[:_LISTED]) + more
