"""Options that several commands share, in bundles: a decorator adds them all and hands over one value.

Values are made only when a command runs, so that help texts cost no imports.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gateprobe.cli.help import Command
from gateprobe.errors import GateprobeWarning, InputError, ReadError, printable

if TYPE_CHECKING:
    from gateprobe.files.places import Guard
    from gateprobe.graph import Array
    from gateprobe.inputs.samples import Samples
    from gateprobe.inputs.tokens import Tokens
    from gateprobe.opened_model import OpenedModel
    from gateprobe.readers.weights_only import Assumptions
    from gateprobe.traces.selection import Selection
    from gateprobe.vocabulary import Side

_Decorator = Callable[[Any], Any]


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read a number of bytes such as ``500M`` or ``2G``."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,15})([kMGT]?)(?:i?B)?", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no size such as 500M or 2G", ctx, param)
    return int(match[1]) << {"": 0, "k": 10, "M": 20, "G": 30, "T": 40}[match[2]]


class _BatchSize(click.IntRange):
    """A number of samples, or ``auto``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else super().convert(value, param, ctx)


MODEL_KEY = "gateprobe.model"
"""Where the context of click keeps the name of the model file."""
LEFT_KEY = "gateprobe.left"
"""Where it keeps a function that says what is left when the command is interrupted."""
_GUARD_KEY = "gateprobe.guard"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """Which model to read, and how."""

    model: str
    architecture: str | None
    semantics: str
    max_bytes: int | None
    ignore_metadata: bool
    dropout: str | None = None

    def reads(self) -> Iterator[str]:
        """Yield the files that are read."""
        from gateprobe.readers.files import model_files

        yield from model_files(self.model)
        if self.architecture is not None:
            yield from model_files(self.architecture)

    @property
    def how(self) -> dict[str, Any]:
        """The arguments of `gateprobe.read` beside the file."""
        return {name: getattr(self, name) for name in names_of(*READING)}

    def read(self) -> OpenedModel:
        """Read the file; from now on errors that name no file are about it."""
        from gateprobe.files.remote import redact_url
        from gateprobe.opened_model import open_model

        context = click.get_current_context()
        context.meta[MODEL_KEY] = redact_url(self.model)
        try:
            return open_model(self.model, **self.how, vocab=context.params.get("vocab"))
        except ReadError:
            from gateprobe.cli.swapped import swapped

            better = swapped(self.model, context.params.get("inputs", ()))
            if better is None:
                raise
            raise better from None


@dataclass(frozen=True, slots=True)
class Run:
    """What to run, and how."""

    inputs: tuple[str, ...]
    feed: tuple[str, ...]
    dtype: str | None
    batch_size: int | str | None
    threads: int | None
    text: tuple[str, ...] = ()
    vocab: str | None = None
    pad: Side | None = None

    def reads(self) -> Iterator[str]:
        """Yield the files that are read."""
        from gateprobe.inputs.samples import files_of

        yield from files_of(self.inputs, self.feed)
        if self.vocab is not None:
            yield self.vocab

    def load(self, model: OpenedModel, file: ModelFile, *, labels: bool = False) -> Samples:
        """Open the inputs and check them against the model.

        Args:
            model: What they are for.
            file: Its file.
            labels: Whether a vocabulary labels timesteps, too, so that it is of use beside ids.

        Raises:
            InputError: They do not fit; or an option would change nothing.
        """
        from gateprobe.inputs.samples import load
        from gateprobe.vocabulary import refuse_unused, text_rules

        if self.pad is not None and self.vocab is None:
            raise InputError("--pad says where ids made of texts are padded", remedy="give --vocab=FILE, too")
        vocab = model.left_of(self.vocab)
        converter = None if vocab is None else text_rules(vocab, self.pad)
        how: dict[str, Any] = {"max_bytes": file.max_bytes, "texts": self.text, "converter": converter}
        samples = load(self.inputs, model.inputs, self.feed, **how)
        refuse_unused(samples.words, None if labels else vocab, self.pad)
        return samples

    @property
    def how(self) -> dict[str, Any]:
        """The arguments of a run that decide about its numbers."""
        return {"batch_size": self.batch_size, "dtype": self.dtype}


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the user says about layers of a file that holds weights only."""

    activation: str | None
    recurrent_activation: str | None
    go_backwards: bool
    reset_after: bool | None

    def complete(self, model: OpenedModel, selection: Selection) -> OpenedModel:
        """Return a model that can run: with an architecture as it is, else as assumed."""
        return model.completed(self.given, selection.layers)

    @property
    def given(self) -> Assumptions:
        """What was said."""
        from gateprobe.readers.weights_only import Assumptions

        return Assumptions(self.activation, self.recurrent_activation, self.go_backwards, self.reset_after)


@dataclass(frozen=True, slots=True)
class Labelling:
    """What the user calls the timesteps."""

    tokens: str | None

    def reads(self) -> Iterator[str]:
        """Yield the files that are read."""
        from gateprobe.inputs.samples import split_spec

        if self.tokens is not None:
            yield split_spec(self.tokens)[1]

    def of_trace(self, numbers: Array) -> Tokens | None:
        """Read the labels of the samples of a trace file.

        Raises:
            InputError: They do not fit, or can only be found with a model.
        """
        from gateprobe.inputs.tokens import read_tokens

        return None if self.tokens is None else read_tokens(self.tokens, numbers, None)

    def of_run(
        self, model: OpenedModel, samples: Samples, selection: Selection, vocab: str | None = None
    ) -> Tokens | None:
        """Read the labels of the samples of a run: those that are listed, or the words behind the ids.

        Raises:
            InputError: They do not fit, or the model has no input with ids.
        """
        from gateprobe.labels import listed_tokens, looked_up_tokens

        vocab = model.left_of(vocab)
        if self.tokens is not None and vocab is not None and not samples.words:
            raise InputError("--tokens and --vocab both say what the timesteps are called", remedy="give one of them")
        if self.tokens is not None:
            return listed_tokens(self.tokens, model, samples, selection)
        if samples.words:
            return model.word_tokens(samples)
        return None if vocab is None else looked_up_tokens(vocab, model, samples, selection)


@dataclass(frozen=True, slots=True)
class Talk:
    """What is said on stderr."""

    quiet: bool
    verbose: int

    def __post_init__(self) -> None:
        if self.quiet:  # the program puts the filters back when it is done
            warnings.simplefilter("ignore", GateprobeWarning)

    def details(self, model: OpenedModel, samples: Samples) -> None:
        """Say to the curious what will run, before it does."""
        self.detail(f"{model.graph.file}: {model.semantics.label}")
        for name, source in samples.sources.items():
            self.detail(f"{name} <- {source.name} {source.array.shape} {source.array.dtype}")

    def notes(self, model: OpenedModel, samples: Samples) -> None:
        """Say what is worth knowing about a run that is done."""
        for text in (*model.notes, *samples.notes):
            self.note(text)
        found = None if self.quiet else samples.first_nan()
        if found is not None:
            self.note(f"input {found[0]} holds NaN, first in sample {found[1]}")

    def note(self, text: str) -> None:
        """Say something worth knowing."""
        if not self.quiet:
            click.echo(f"gateprobe: note: {printable(text)}", err=True)

    def detail(self, text: str) -> None:
        """Say something for the curious."""
        if self.verbose:
            click.echo(f"gateprobe: {printable(text)}", err=True)


@dataclass(frozen=True, slots=True)
class Report:
    """What is printed."""

    as_json: bool

    def writes(self) -> tuple[str, ...]:
        """Return the files that are written: it goes to standard output."""
        from gateprobe.files.places import STREAM

        return (STREAM,)


def print_json(value: object) -> None:
    """Print indented ASCII JSON without control characters, whatever the names in a file are."""
    import json

    click.echo(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))


def command(*examples: str) -> _Decorator:
    """Make a function a command; the examples end its help text."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        made = click.command(cls=Command)(function)
        made.examples = examples
        return made

    return decorate


def bundle(name: str, make: Callable[..., Any], *options: _Decorator) -> _Decorator:
    """Make a decorator that adds options to a command and passes ``make(**values)`` as its argument ``name``.

    A value with a method ``reads`` or ``writes`` says which files the command reads or writes. All of them together are
    compared before the command begins, so that none can forget to; whatever names a file goes through a bundle. Where
    the value has a ``force`` that is not given, what it writes must not be there yet. One with a method ``left`` says
    what an interruption leaves behind, and how to go on.
    """

    def decorate(command: Any) -> Any:
        keys: list[str] = []

        @functools.wraps(command)
        def wrapped(**values: Any) -> Any:
            made = make(**{key: values.pop(key) for key in keys})
            _register(made)
            return command(**{name: made}, **values)

        parameters: Any = wrapped
        before = len(getattr(parameters, "__click_params__", []))
        for option in reversed(options):
            option(wrapped)
        keys.extend(parameter.name for parameter in parameters.__click_params__[before:])
        return wrapped

    return decorate


def parameters_of(*options: _Decorator) -> list[click.Parameter]:
    """Return the parameters that decorators add."""

    def nothing() -> None:
        """Take the parameters."""

    for option in options:
        option(nothing)
    found: list[click.Parameter] = nothing.__click_params__  # type: ignore[attr-defined]  # click puts them there
    return found


def names_of(*options: _Decorator) -> frozenset[str]:
    """Return the names of the parameters that decorators add."""
    return frozenset(parameter.name or "" for parameter in parameters_of(*options))


def taken(values: Mapping[str, Any], options: Iterable[_Decorator]) -> dict[str, Any]:
    """Return what some options hold, of the values of more."""
    return {name: values[name] for name in names_of(*options)}


def given(names: Collection[str]) -> Iterator[str]:
    """Yield those of some options that stand on the command line."""
    context = click.get_current_context()
    for parameter in context.command.get_params(context):
        where = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and where is click.core.ParameterSource.COMMANDLINE:
            yield parameter.opts[-1]


def guard() -> Guard:
    """Return what knows the files of the running command."""
    from gateprobe.files.places import Guard

    found: Guard = click.get_current_context().meta.setdefault(_GUARD_KEY, Guard())
    return found


def _register(made: object) -> None:
    """Note which files the value of a bundle names, and what it leaves behind."""
    if hasattr(made, "reads"):
        guard().reads(made.reads())
    if hasattr(made, "writes"):
        from gateprobe.writers.target import refuse_existing

        names = list(made.writes())
        guard().writes(names)
        if not getattr(made, "force", True):
            refuse_existing(names)
    if hasattr(made, "left"):
        click.get_current_context().meta[LEFT_KEY] = made.left


def selection_of(
    layer: tuple[str, ...], direction: str | None, signal: tuple[str, ...] = (), **ranges: str | None
) -> Selection:
    """Return what the options of a selection take."""
    from gateprobe.traces.selection import Ranges, Selection

    unit, timestep, sample = (
        None if ranges.get(name) is None else Ranges(str(ranges[name])) for name in ("unit", "timestep", "sample")
    )
    return Selection(_listed(layer), () if direction is None else (direction,), _listed(signal), unit, timestep, sample)


def _listed(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of an option that takes commas and may be repeated."""
    return tuple(name for text in texts for name in text.split(","))


READING = (
    click.option(
        "--architecture",
        metavar="FILE",
        help="Take the layers, and words that they look up, from this: the model's to_json(), a whole model, or a "
        "wiring.",
    ),
    click.option(
        "--semantics",
        type=click.Choice(["auto", "keras1", "keras2", "keras3"]),
        default="auto",
        metavar="KERAS",
        help="Give words the meaning that they had in keras1, keras2 or keras3, instead of in the Keras that saved the "
        "file (auto).",
    ),
    click.option(
        "--max-bytes",
        callback=_size,
        metavar="SIZE",
        help="Read no more than this, and hold no more for a batch, such as 8G.",
    ),
    click.option(
        "--ignore-metadata",
        is_flag=True,
        help="Read a SavedModel without its keras_metadata.pb, where that is left over from another save.",
    ),
    click.option(
        "--dropout",
        type=click.Choice(["off"]),
        metavar="OFF",
        help="Leave out (off) the dropout and the noise that a model keeps on at inference (training=True).",
    ),
)
"""How to read a model."""

reading = bundle("file", ModelFile, click.argument("model", metavar="MODEL"), *READING)
"""Adds MODEL and how to read it; the command takes ``file``."""

TEXTS = (
    click.option(
        "--text",
        multiple=True,
        metavar="TEXT",
        help="A sample of a model that reads text, instead of a file. May be repeated.",
    ),
    click.option(
        "--vocab",
        metavar="FILE",
        help="Turn texts into token ids by this vocabulary, for a model that takes ids, and label timesteps with its "
        "words: JSON of a Tokenizer or TextVectorization, a word index, or one word a line, from 0. Or give the words "
        "of a layer that lacks its own.",
    ),
    click.option(
        "--pad",
        type=click.Choice(["pre", "post"]),
        metavar="SIDE",
        help="Pad and cut rows of such ids in front (pre) or at the end (post), instead of as Keras pads what the "
        "vocabulary makes.",
    ),
)
"""How texts are given."""

RUNNING = (
    *TEXTS,
    click.option(
        "--feed",
        multiple=True,
        metavar="LAYER=FILE",
        help="Feed a layer directly with this array; LAYER.mask=FILE and LAYER.initial_state[0]=FILE feed its mask and "
        "its states. May be repeated.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float32", "float64"]),
        metavar="DTYPE",
        help="Compute in float32 or float64, instead of in the precision that the file asks for.",
    ),
    click.option(
        "--batch-size",
        type=_BatchSize(1),
        metavar="N",
        help="Run N samples together, instead of 32; auto chooses by their size.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(1),
        metavar="N",
        help="Run N batches side by side, instead of one on each core where that is faster.",
    ),
)
"""How to run a model."""

running = bundle("run", Run, click.argument("inputs", metavar="INPUT...", nargs=-1), *RUNNING)
"""Adds INPUT... and how to run; the command takes ``run``."""

ASSUMING = (
    click.option("--activation", metavar="NAME", help="Activation of the layers of a weights-only file, such as tanh."),
    click.option(
        "--recurrent-activation", metavar="NAME", help="Activation of their gates, such as sigmoid or hard_sigmoid."
    ),
    click.option("--go-backwards", is_flag=True, help="They read their input from the last timestep to the first."),
    click.option(
        "--reset-after/--reset-before",
        default=None,
        help="A GRU without bias applies its reset gate after or before the recurrent product.",
    ),
)
"""What a weights-only file cannot tell."""

assuming = bundle("assumed", Assumed, *ASSUMING)
"""Adds what a weights-only file cannot tell; the command takes ``assumed``."""

LABELLING = (
    click.option(
        "--tokens",
        metavar="FILE",
        help="Label timesteps with these tokens: one a line with an empty line between samples, or a JSON list for "
        "each sample. NAME=FILE labels the timesteps of one input of several.",
    ),
)
"""What to call timesteps."""

labelling = bundle("labels", Labelling, *LABELLING)
"""Adds --tokens; the command takes ``labels``."""


def only_direction(what: str) -> _Decorator:
    """Add --direction; ``what`` says in the help what it does."""
    return click.option(
        "--direction",
        type=click.Choice(["forward", "backward"]),
        metavar="WAY",
        help=f"{what}: forward or backward.",
    )


_WHAT = (
    click.option(
        "--layer",
        multiple=True,
        metavar="GLOBS",
        help="Keep these layers, such as lstm_1,lstm_2 or 'encoder/*'. May be repeated.",
    ),
    only_direction("Keep only one direction of the layers"),
    click.option(
        "--signal",
        multiple=True,
        metavar="NAMES",
        help="Keep these signals, in this order, such as forget_gate,hidden_state, or by letter: i input gate, "
        "f forget gate, g candidate, o output gate, c cell state, h hidden state, z update gate, r reset gate. May be "
        "repeated.",
    ),
)
_WHICH = (
    click.option(
        "--unit", metavar="RANGES", help="Keep these units, such as 0:8,31; negative numbers count from the end."
    ),
    click.option("--timestep", metavar="RANGES", help="Keep these timesteps, such as 10:20."),
    click.option("--sample", metavar="RANGES", help="Run only these samples, such as 3 or 0:100."),
)

selecting = bundle("selection", selection_of, *_WHAT, *_WHICH)
"""Adds the choice of layers, directions, signals, units, timesteps and samples; the command takes ``selection``."""

choosing = bundle("selection", selection_of, *_WHAT)
"""Adds the choice of layers, directions and signals alone; the command takes ``selection``."""

talking = bundle(
    "talk",
    Talk,
    click.option("-q", "--quiet", is_flag=True, help="Show no notes and no progress on stderr."),
    click.option(
        "-v", "--verbose", count=True, help="Say more on stderr: which file feeds which input, and what is done."
    ),
)
"""Adds -q and -v; the command takes ``talk``."""

force = click.option("--force", is_flag=True, help="Overwrite existing files.")

transpose = click.option("--transpose", is_flag=True, help="Exchange the rows and columns of kernels.")


def gate_order(what: str) -> _Decorator:
    """Add --order; ``what`` says in the help what it does."""
    orders = "such as ifgo, iofg or, for a GRU, zrh; with commas for layers of several kinds"
    return click.option("--order", metavar="LETTERS", help=f"{what}, {orders}.")


reporting = bundle(
    "report", Report, click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
)
"""Adds --json; the command takes ``report``."""
