"""The keyword arguments of `gateprobe.Model.trace` and its like: declared once, for type checkers and for people."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Literal, ParamSpec, TypeAlias, TypedDict, TypeVar

from gateprobe.errors import InputError, nearest
from gateprobe.replay.batch_size import BatchSize
from gateprobe.replay.run import Progress
from gateprobe.traces.selection import Names, Numbers, Selection

Dtype: TypeAlias = Literal["float32", "float64"]
"""In which precision to compute."""
KernelName: TypeAlias = Literal["auto", "numpy", "compiled"]
"""Which code steps the recurrent layers."""

P = ParamSpec("P")
R = TypeVar("R")


class RunOptions(TypedDict, total=False):
    """How to run: what `gateprobe.Model.predict` takes."""

    feeds: Mapping[str, object] | None
    batch_size: BatchSize
    dtype: Dtype | None
    kernel: KernelName
    threads: int | None
    progress: Progress | None
    vocab: str | os.PathLike[str] | None
    pad: Literal["pre", "post"] | None


class TraceOptions(RunOptions, total=False):
    """How to run and what to keep: what `gateprobe.Model.trace` takes."""

    layers: Names
    directions: Names
    signals: Names
    units: Numbers | None
    timesteps: Numbers | None
    samples: Numbers | None
    selection: Selection | None
    pre_activations: bool
    with_input: bool
    with_output: bool


RUN_DEFAULTS: RunOptions = {
    "feeds": None,
    "batch_size": None,
    "dtype": None,
    "kernel": "auto",
    "threads": None,
    "progress": None,
    "vocab": None,
    "pad": None,
}
TRACE_DEFAULTS: TraceOptions = {
    "layers": (),
    "directions": (),
    "signals": (),
    "units": None,
    "timesteps": None,
    "samples": None,
    "selection": None,
    "pre_activations": False,
    "with_input": False,
    "with_output": False,
    **RUN_DEFAULTS,
}


def takes(options: type[RunOptions], defaults: RunOptions) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a method show the keywords that it takes, to `help` and to completion, and refuse others with a guess.

    Args:
        options: The keywords and their types.
        defaults: The value of each.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        own = [one for one in inspect.signature(method).parameters.values() if one.kind is not one.VAR_KEYWORD]
        shown = inspect.signature(method).replace(parameters=[*own, *_parameters(options, defaults)])

        @functools.wraps(method)
        def checked(*args: P.args, **given: P.kwargs) -> R:
            for name in given.keys() - shown.parameters.keys():
                near = nearest(name, shown.parameters)
                guess = f"; did you mean {near}?" if near else ""
                raise TypeError(f"{method.__name__}() got an unexpected keyword argument {name!r}{guess}")
            return method(*args, **given)

        checked.__signature__ = shown  # type: ignore[attr-defined]  # where inspect looks first
        return checked

    return decorate


def _parameters(options: type[RunOptions], defaults: RunOptions) -> Iterator[inspect.Parameter]:
    for name, value in defaults.items():
        annotation = options.__annotations__[name].__forward_arg__
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=annotation)


def selection_of(options: TraceOptions) -> Selection:
    """Return what the keywords select.

    Raises:
        InputError: They say it twice, or ``selection`` is none.
    """
    given: dict[str, Any] = dict(options)
    words = {field.name: given[field.name] for field in fields(Selection) if given.get(field.name) is not None}
    selection = options.get("selection")
    if selection is None:
        return Selection(**words)
    if not isinstance(selection, Selection):
        raise InputError(f"selection={selection!r} is no Selection", remedy="use layers=..., signals=... and so on")
    if words:
        raise InputError(f"selection and {next(iter(words))} both say what to keep", remedy="give one of them")
    return selection
