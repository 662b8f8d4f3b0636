"""Which known mistakes make a port's numbers right: one at a time, then in pairs, the simplest first.

An explanation is given only when every number then agrees by the rule. On the way there, most candidates are dropped
at the first step at which the file has numbers: a first look takes one step of two samples, a second one some steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TypeAlias

import numpy as np

from gateprobe.analysis.agreement import SignalReport
from gateprobe.analysis.mistakes.block import Block
from gateprobe.analysis.mistakes.formats import candidates
from gateprobe.analysis.mistakes.known import Circumstances, Mistake, known
from gateprobe.analysis.mistakes.port import Format, Port, kind_of
from gateprobe.analysis.mistakes.watch import Fields
from gateprobe.graph import Array

Tell: TypeAlias = Callable[[str], None]

_LOOKS = (1, 8)
"""Steps of the first and of the second look, counted from the first one of which the file has numbers."""
_SAMPLES = 2
"""Samples of a look."""
_NEARLY = 0.25
"""How far numbers may be off without a mistake in numbers: a table or a rounding moves them less."""
_FEW_NEAREST = 6
"""Mistakes that are tried together with each table and each rounding of the weights."""
_STEPS = 400_000
"""Steps that may be simulated in search of pairs."""
_WORK = 2e11
"""Multiplications that may be spent on them."""
_PER_NUMBER = 16.0
"""Bits of evidence that one number can give."""
_MARGIN = 10.0
"""Bits of evidence that there must be beyond the number of things tried."""
_FLOOR = 4e-6
"""What rounding may do to a number near 1."""
_FORMAT_FACTOR = 4.0
"""How many times what rounding did in our own simulations it may have done in another program."""


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    """One mistake or two with which a port's numbers agree."""

    mistakes: tuple[Mistake, ...]
    reports: Sequence[SignalReport]
    """Of the comparison with the mistakes; empty for a format."""
    format: Format | None = None
    """The number format in which the numbers agree, beside the mistakes."""
    allowed: float = 0.0
    """The most that the format can move a number."""
    largest: float = 0.0
    """The largest difference that is left."""

    @property
    def fields(self) -> Fields:
        """Of a `Port`."""
        return {name: value for one in self.mistakes for name, value in one.fields.items()}

    @property
    def size(self) -> int:
        """How many things are wrong."""
        return len(self.mistakes) + (self.format is not None)


@dataclass(slots=True)
class Outcome:
    """What a search found."""

    found: list[Hypothesis] = field(default_factory=list)
    """From the simplest on; all explain the numbers."""
    tried: int = 0
    chance: int = 0
    """How many would fit, on numbers too few to tell that from chance."""
    few: bool = False
    """Whether pairs were not tried, because the numbers are too few to tell one from another."""
    cut: bool = False
    """Whether pairs were not tried, because that would have taken too long."""


def circumstances(block: Block) -> Circumstances:
    """Return what decides which mistakes are possible."""
    given = block.given
    return Circumstances(
        given.cell,
        given.backwards,
        masked=given.mask is not None and not given.mask.all(),
        starts=given.starts and any(state.any() for state in given.initial),
        samples=len(given.x),
        features=int(given.cell.kernel.shape[-2]) if kind_of(given.cell) else 0,
        halves=block.halves,
    )


def search(block: Block, tell: Tell, *, pairs: bool = True) -> Outcome:
    """Look for what explains the numbers of a block that disagrees.

    Args:
        block: The numbers.
        tell: Called with what is done.
        pairs: Whether to try two mistakes at a time.
    """
    with np.errstate(all="ignore"):  # infinities and NaN are results of a port, too
        return _Search(block, tell).run(pairs=pairs)


def explains(block: Block, fields: Fields) -> Sequence[SignalReport] | None:
    """Return the comparison with a port that makes mistakes, if all of it agrees."""
    reports = block.reports(block.port(fields))
    return reports if reports and all(report.agrees for report in reports) else None


class _Search:
    def __init__(self, block: Block, tell: Tell) -> None:
        self.block, self.tell, self.outcome = block, tell, Outcome()
        everything = known(circumstances(block))
        self.plain = [one for one in everything if not one.rare]
        self.rare = [one for one in everything if one.rare]
        self.base = block.reports(block.base)
        self.rows = _telling_rows(block, self.base)

    def run(self, *, pairs: bool) -> Outcome:
        """Go from the simple to the complicated, and stop where something is found."""
        if all(report.agrees for report in self.base):
            return self.outcome
        stages: list[Callable[[], Iterable[tuple[Mistake, ...]]]] = [
            lambda: ((one,) for one in self.plain),
            self._rare_alone,
        ]
        for stage in stages:
            self._try(stage())
            if self.outcome.found:
                return self.outcome
        compared = self.block.compared(self.block.base)
        formats = candidates(
            [(one.values[compared[name]], one.slack[compared[name]]) for name, one in self.block.theirs.items()]
        )
        self._formats(formats, [()])
        if self.outcome.found or not pairs:
            return self.outcome
        if self._capacity() < _needed(len(self.plain) ** 2 // 2):
            self.outcome.few = True
            return self.outcome
        if self._affordable():
            self.tell(f"trying pairs of {len(self.plain)} known mistakes")
            self._try(pair for pair in combinations(self.plain, 2) if pair[0].beside(pair[1]))
        else:
            self.outcome.cut = True
        if not self.outcome.found:
            self._try(self._rare_pairs())
        if not self.outcome.found:
            self._formats(formats, [(one,) for one in self.plain])
        return self.outcome

    def _affordable(self) -> bool:
        """Whether there is time for all pairs."""
        count = len(self.plain) ** 2 / 2
        steps = self.block.first_there(self.block.base, self.rows) + 2
        cell = self.block.given.cell
        work = 2 * cell.recurrent_kernel.size * _SAMPLES
        return count * steps <= _STEPS and count * steps * work <= _WORK

    def _capacity(self) -> float:
        """Return how many bits of evidence the numbers can give at most."""
        bits = 0.0
        for name, compared in self.block.compared(self.block.base).items():
            room = self.block.theirs[name].slack[compared] + _FLOOR
            bits += float(np.clip(np.log2(2 / room), 0, _PER_NUMBER).sum())
        return bits

    def _rare_alone(self) -> Iterator[tuple[Mistake, ...]]:
        if self._is_near(self.block.base):
            yield from ((one,) for one in self.rare)

    def _rare_pairs(self) -> Iterator[tuple[Mistake, ...]]:
        """Yield pairs in which one mistake moves numbers only a little."""
        for one in self._nearest():
            yield from ((one, other) for other in self.rare if one.beside(other))
        if self._is_near(self.block.base):
            yield from self._partly_right()

    def _nearest(self) -> list[Mistake]:
        """Return the few mistakes that bring the numbers nearest, of those that bring them near."""
        gaps = [
            max((gap for gap, _ in self._look(self.block.port(one.fields), 1).values()), default=math.inf)
            for one in self.plain
        ]
        near = [(gap, n) for n, gap in enumerate(gaps) if gap <= _NEARLY]
        return [self.plain[n] for _, n in sorted(near)[:_FEW_NEAREST]]

    def _partly_right(self) -> Iterator[tuple[Mistake, ...]]:
        """Yield pairs of which one mistake alone puts a signal right."""
        before = {name for name, (_, ok) in self._look(self.block.base, 0).items() if ok}
        for one in self.rare:
            now = {name for name, (_, ok) in self._look(self.block.port(one.fields), 0).items() if ok}
            if before < now:
                yield from ((one, other) for other in self.rare if one.beside(other))

    def _is_near(self, port: Port, look: int = 1) -> bool:
        gaps = self._look(port, look)
        return bool(gaps) and all(gap <= _NEARLY for gap, _ in gaps.values())

    def _look(self, port: Port, number: int) -> dict[str, tuple[float, bool]]:
        return self.block.gap(port, *self._seen(port, number))

    def _seen(self, port: Port, number: int) -> tuple[Array, int]:
        """Return which samples, and how many steps, a look takes."""
        rows = self.rows
        if port.state == "carried":  # needs the samples before
            rows = np.arange(min(max(self.rows.max() + 1, _SAMPLES), len(self.block.given.x)))
        return rows, self.block.first_there(port, rows) + _LOOKS[number]

    def _try(self, tried: Iterable[tuple[Mistake, ...]]) -> None:
        """Keep what agrees everywhere."""
        for mistakes in tried:
            self.outcome.tried += 1
            hypothesis = Hypothesis(mistakes, ())
            port = self.block.port(hypothesis.fields)
            if not all(self._passes(port, look) for look in range(len(_LOOKS))):
                continue
            reports = explains(self.block, hypothesis.fields)
            if reports is not None:
                largest = max(report.keras_replay.max_abs for report in reports)
                self._found(Hypothesis(mistakes, reports, largest=largest), self._evidence(port))

    def _passes(self, port: Port, look: int) -> bool:
        return self.block.fits(port, *self._seen(port, look))

    def _found(self, hypothesis: Hypothesis, evidence: float) -> None:
        if evidence >= _needed(max(self.outcome.tried, len(self.plain))):
            self.outcome.found.append(hypothesis)
        else:
            self.outcome.chance += 1

    def _evidence(self, port: Port, allowed: dict[str, Array] | float = 0.0) -> float:
        """Return how many bits speak for a port: how much nearer than without its mistakes the numbers are."""
        block = self.block
        without, mine = (block.simulated(one, block.exact) for one in (block.base, port))
        bits = 0.0
        for name, one in block.theirs.items():
            if name not in mine:
                continue
            use = block.compared(port)[name] & np.isfinite(without[name]) & np.isfinite(mine[name])
            moved = np.abs(without[name] - mine[name])[use]
            more = allowed[name] if isinstance(allowed, dict) else np.broadcast_to(allowed, one.slack.shape)
            room = (one.slack + more + _FLOOR * np.maximum(1.0, np.abs(mine[name])))[use]
            bits += float(np.minimum(np.log2(np.maximum(moved / room, 1.0)), _PER_NUMBER).sum())
        return bits

    # --- number formats

    def _formats(self, formats: Sequence[Sequence[Format]], tried: Iterable[tuple[Mistake, ...]]) -> None:
        """Keep what agrees as far as a number format can tell."""
        tried = list(tried)
        for variants in formats:
            for mistakes in tried:
                self.outcome.tried += 1
                fields = Hypothesis(mistakes, ()).fields
                if mistakes and not self._is_near(self.block.port(fields), look=0):
                    continue
                self._format(variants, mistakes, fields)

    def _format(self, variants: Sequence[Format], mistakes: tuple[Mistake, ...], fields: Fields) -> None:
        block = self.block
        port = block.port(fields)
        exact = block.simulated(port, block.exact)
        can_do = {name: np.zeros_like(value) for name, value in exact.items()}
        for variant in variants:
            for more in ({"values": variant}, {"values": variant, "weights": variant}):
                ran = block.simulated(block.port({**fields, **more}), block.exact)
                for name, value in ran.items():
                    can_do[name] = np.maximum(can_do[name], np.nan_to_num(np.abs(value - exact[name])))
        first = variants[0]
        backwards = port.backwards != port.flipped
        largest, most, fits = 0.0, 0.0, True
        allowed: dict[str, Array] = {}
        for name, one in block.theirs.items():
            if name not in exact:
                continue
            size = np.maximum(np.abs(exact[name]), 2.0**-4) if first.floating else 1.0
            allowed[name] = _FORMAT_FACTOR * (_so_far(can_do[name], backwards=backwards) + first.step * size)
            apart = np.abs(one.values - exact[name])[block.compared(port)[name]]
            room = (allowed[name] + one.slack)[block.compared(port)[name]]
            fits = (
                fits and bool((apart <= room).all()) and _says_something(room, exact[name][block.compared(port)[name]])
            )
            largest, most = max(largest, float(apart.max(initial=0))), max(most, float(room.max(initial=0)))
        if not fits or not allowed:
            return
        found = Hypothesis(mistakes, (), first, most, largest)
        self._found(found, math.inf if not mistakes else self._evidence(port, allowed))


def _needed(tried: int) -> float:
    """Return how many bits of evidence tell an explanation from chance."""
    return math.log2(tried) + _MARGIN


def _so_far(error: Array, *, backwards: bool) -> Array:
    """Return the largest error of any unit so far, in the order in which the layer ran."""
    order = slice(None, None, -1) if backwards else slice(None)
    each = error.max(axis=(0, 2), initial=0.0, keepdims=True)
    so_far: Array = np.broadcast_to(np.maximum.accumulate(each[:, order], axis=1)[:, order], error.shape)
    return so_far


def _says_something(room: Array, values: Array) -> bool:
    """Whether what is allowed is small beside the numbers."""
    if not room.size:
        return True
    spread = float(values.max() - values.min())
    return float(np.median(room)) <= max(spread / 4, 1e-3)


def _telling_rows(block: Block, reports: Sequence[SignalReport]) -> Array:
    """Return the samples to look at first: one that disagrees, and one more."""
    wrong = [report.first.sample for report in reports if report.first is not None]
    rows = dict.fromkeys([*wrong[:1], *range(len(block.given.x))])
    return np.array(sorted(list(rows)[:_SAMPLES]))
