"""A model beside the numbers of a port: where they part, and which known mistake explains it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from gateprobe.analysis.agreement import RULE, Divergence, SignalReport, Tolerance, earliest, rule_of
from gateprobe.analysis.bench import Bench, Ran
from gateprobe.analysis.comparison import Cause, Comparison, Difference
from gateprobe.analysis.differences import difference, place
from gateprobe.analysis.fitting import Asked, Grid, Placed, fit
from gateprobe.analysis.mistakes.block import Block, Theirs
from gateprobe.analysis.mistakes.factors import Factor, factors
from gateprobe.analysis.mistakes.known import Mistake, known
from gateprobe.analysis.mistakes.port import kind_of
from gateprobe.analysis.mistakes.search import Hypothesis, circumstances, explains, search
from gateprobe.analysis.mistakes.watch import Fields, Key
from gateprobe.errors import InputError, UnsupportedModel
from gateprobe.graph import Array
from gateprobe.inputs.samples import Samples
from gateprobe.opened_model import OpenedModel
from gateprobe.traces.chunk import DirectionTrace
from gateprobe.traces.foreign import Foreign
from gateprobe.traces.selection import Selection, check_layers

PORT_RULE = RULE.replace("of Keras to float64", "of the other program to float64").replace(
    "Keras and the replay disagree", "The two disagree"
) + (
    "; a program that agrees with the replay in float64 to within the ulps agrees; a printed number may be off by half "
    "of its last digit"
)
"""The rule in words, where the user says nothing."""
_UPSTREAM_STEPS = 60_000
"""Steps of pairs of mistakes that are tried in all layers at once."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class PortOptions:
    """How to compare."""

    asked: Asked = field(default_factory=Asked)
    tolerance: Tolerance = field(default_factory=Tolerance)
    dtype: str | None = None
    pairs: bool = True
    """Whether to look for two mistakes at a time."""


def compare_port(
    model: OpenedModel, samples: Samples, foreign: Foreign, options: PortOptions | None = None, tell: Tell | None = None
) -> Comparison:
    """Compare the replay of a model with the numbers of another program.

    Args:
        model: The model.
        samples: Its inputs.
        foreign: What the program computed from them.
        options: How to compare.
        tell: Called with one line for each thing that is done.

    Raises:
        InputError: The numbers fit no layer, or several.
        UnsupportedModel: No recurrent layer can be replayed exactly.
    """
    return _Case(model, samples, foreign, options or PortOptions(), tell or (lambda text: None)).judged()


@dataclass(slots=True)
class _Found:
    """What explains one block."""

    block: Block
    hypotheses: list[Hypothesis]
    everywhere: bool = False
    """Whether the mistake is in the layers before as well."""


class _Case:
    def __init__(
        self, model: OpenedModel, samples: Samples, foreign: Foreign, options: PortOptions, tell: Tell
    ) -> None:
        self.model, self.samples, self.foreign = model, samples, foreign
        self.options, self.tell = options, tell
        self.tried, self.notes = 0, list[str]()

    def judged(self) -> Comparison:
        """Compare, and where there is a disagreement, look for its cause."""
        self.tell("replaying in the model's precision and in float64")
        with self.model.blamed(self.samples):
            self.bench, self.plain, self.exact = self._replayed()
        self.placed, notes = self._placed()
        self.notes += notes
        reports = {key: self._reports(key) for key in self.placed}
        every = [report for group in reports.values() for report in group]
        signals = tuple(self._difference(report) for report in every)
        if not any(report.values for report in every):
            raise InputError("has no number that can be compared", file=self.foreign.name)
        first = earliest(every)
        causes, unexplained = ((), None) if first is None else self._causes(reports)
        return Comparison(
            self.model.graph.file, self.foreign.name, signals,
            None if first is None else place(first, exact=True), tuple(causes),
            () if unexplained is None else self._factors(*unexplained), (),
            tuple(dict.fromkeys((*self.model.notes, *self.samples.notes, *self.notes))),
            rule_of(self.options.tolerance, PORT_RULE), self.tried,
        )  # fmt: skip

    # --- the replay, and where the numbers belong

    def _replayed(self) -> tuple[Bench, Ran, Ran]:
        """Run every recurrent layer that can be run, or those that were asked for."""
        selection = Selection(layers=self._labels())  # both directions, which run together
        pre = any(one.signal.startswith("pre_") for one in self.foreign.written)
        bench = Bench(self.model, self.samples, selection, self.options.dtype, pre)
        try:
            return bench, bench.run(), bench.run(exact=True)
        except UnsupportedModel:
            bench = replace(bench, selection=Selection(layers=self._possible(bench)))
            return bench, bench.run(), bench.run(exact=True)

    def _labels(self) -> tuple[str, ...]:
        """Return the layers that the file and the user name, nothing where the file leaves it open."""
        if self.options.asked.selection.layers:
            return self.options.asked.selection.layers
        labels = [one.layer for one in self.foreign.written]
        there = {call.path for call in self.model.recurrent}
        named = [label for label in labels if label is not None]
        if len(named) < len(labels) or not all(label in there for label in named):
            return ()
        return tuple(dict.fromkeys(named))

    def _possible(self, bench: Bench) -> tuple[str, ...]:
        """Return the layers that can be replayed, each on its own.

        Raises:
            UnsupportedModel: There are none.
        """
        found, last = [], None
        for call in self.model.recurrent:
            try:
                self.model.plan(Selection(layers=(call.path,)), feeds=self.samples.feeds, dtype=bench.dtype)
                found.append(call.path)
            except UnsupportedModel as reason:
                last = reason
        if not found and last is not None:
            raise last
        return tuple(found)

    def _placed(self) -> tuple[Placed, list[str]]:
        asked = self.options.asked
        check_layers(asked.selection, dict.fromkeys(layer for layer, _ in self.plain.traces))
        return fit(self.foreign, [self._grid(key, part) for key, part in self.plain.traces.items()], asked)

    def _grid(self, key: Key, part: DirectionTrace) -> Grid:
        first = next(iter(part.signals.values()))
        other = (key[0], "backward" if key[1] == "forward" else "forward")
        joined = other[1] if other in self.plain.traces else None
        numbers = tuple(range(len(first)))
        units = int(np.prod(first.shape[2:]))
        return Grid(*key, part.backwards, numbers, first.shape[1], units, frozenset(part.signals), joined)

    # --- the comparison

    def _reports(self, key: Key) -> list[SignalReport]:
        plain, exact = self.plain.traces[key], self.exact.traces[key]
        block = self._block(key, self.plain, self.exact)
        if block is None:
            raise InputError("this layer is called in a way that cannot be compared", place=key[0])
        return list(block.judged(_flat(plain), _flat(exact), block.base))

    def _block(self, key: Key, plain: Ran, exact: Ran) -> Block | None:
        if key not in plain.given or key not in exact.given:
            return None
        halves = self.bench.halves.get(key)
        theirs: Mapping[str, Theirs] = self.placed[key]
        return Block(key, plain.given[key], exact.given[key], theirs, self.options.tolerance, halves)

    def _difference(self, report: SignalReport) -> Difference:
        key = (report.layer, report.direction)
        part, theirs = self.plain.traces[key], self.placed[key][report.signal]
        block = self._block(key, self.plain, self.exact)
        with np.errstate(all="ignore"):
            apart = np.abs(theirs.values - _flat(part)[report.signal])
        compared = theirs.there if block is None else block.compared(block.base)[report.signal]
        return difference(report, apart, compared, backwards=part.backwards, exact=True)

    # --- the explanation

    def _causes(
        self, reports: Mapping[Key, list[SignalReport]]
    ) -> tuple[Sequence[Cause], tuple[Block, Divergence] | None]:
        """Explain block after block, in the order of computing, each with the mistakes found in those before."""
        found: list[_Found] = []
        unexplained: tuple[Block, Divergence] | None = None
        changes: dict[Key, Fields] = {}
        plain, exact = self.plain, self.exact
        for key in reports:
            if changes:
                plain, exact = self._rerun(changes)
            block = self._block(key, plain, exact)
            if block is None or not kind_of(block.given.cell):
                continue
            now = reports[key] if not changes else block.reports(block.base)
            if all(report.agrees for report in now):
                continue
            this = self._explained(block, found)
            if this is not None:
                found.append(this)
                changes |= self._changes(this)
            elif unexplained is None:
                first = earliest(now)
                assert first is not None, "some report disagrees"
                unexplained = block, first
        return list(self._told(found, unexplained is None)), unexplained

    def _changes(self, this: _Found) -> dict[Key, Fields]:
        fields = this.hypotheses[0].fields
        keys = self.plain.every if this.everywhere else [this.block.key]
        return dict.fromkeys(keys, fields)

    def _rerun(self, changes: Mapping[Key, Fields]) -> tuple[Ran, Ran]:
        def rule(key: Key) -> Fields:
            return changes.get(key, {})

        return self.bench.run(rule), self.bench.run(rule, exact=True)

    def _explained(self, block: Block, found: Sequence[_Found]) -> _Found | None:
        """Explain a block: as the blocks before, or by a search, or by mistakes in the layers before as well."""
        for before in found:
            again = [one for one in (_again(block, h) for h in before.hypotheses) if one is not None]
            if again:
                return _Found(block, again)
        self.tell(f"trying known mistakes in {' '.join(block.key)}")
        outcome = search(block, self.tell, pairs=self.options.pairs)
        self.tried += outcome.tried
        if outcome.cut:
            self.notes.append(
                "pairs of mistakes were not tried, because that would take too long; give fewer timesteps"
            )
        if outcome.few:
            self.notes.append("pairs of mistakes were not tried: the file has too few numbers to tell them apart")
        if outcome.found:
            return _Found(block, outcome.found)
        if outcome.chance:
            self.notes.append(
                f"the file has too few numbers: {outcome.chance} explanations fit {' '.join(block.key)}, "
                "perhaps by chance"
            )
            return None
        everywhere = list(self._everywhere(block)) if self._has_others_before(block.key) else []
        return _Found(block, everywhere, everywhere=True) if everywhere else None

    def _has_others_before(self, key: Key) -> bool:
        """Whether layers whose numbers the file lacks ran before this one."""
        keys = [other for other in self.plain.every if other != key]
        before = keys[: self.plain.every.index(key)] if key in self.plain.every else keys
        return any(other not in self.placed and other[0] != key[0] for other in before)

    def _everywhere(self, block: Block) -> Iterator[Hypothesis]:
        """Yield mistakes that explain a block when all recurrent layers make them."""
        self.tell("trying known mistakes in all recurrent layers")
        mistakes = [one for one in known(circumstances(block)) if not one.rare]
        singles = [hypothesis for one in mistakes if (hypothesis := self._in_all(block, (one,))) is not None]
        yield from singles
        if singles or not self.options.pairs:
            return
        pairs = [pair for pair in combinations(mistakes, 2) if pair[0].beside(pair[1])]
        if len(pairs) * block.timesteps * len(self.plain.every) <= _UPSTREAM_STEPS:
            yield from (one for pair in pairs if (one := self._in_all(block, pair)) is not None)

    def _in_all(self, block: Block, mistakes: tuple[Mistake, ...]) -> Hypothesis | None:
        """Try mistakes in all layers: first on one sample, then on all."""
        self.tried += 1
        fields = Hypothesis(mistakes, ()).fields

        def rule(key: Key) -> Fields:
            return fields

        rows = np.arange(len(block.given.x) if fields.get("state") == "carried" else min(2, len(block.given.x)))
        if not self._near(block, fields, rows):
            return None
        plain, exact = self.bench.run(rule), self.bench.run(rule, exact=True)
        tried = self._block(block.key, plain, exact)
        reports = None if tried is None else explains(tried, fields)
        if reports is None:
            return None
        return Hypothesis(mistakes, reports, largest=max(report.keras_replay.max_abs for report in reports))

    def _near(self, block: Block, fields: Fields, rows: Array) -> bool:
        """Whether the first samples are near enough when all layers make a mistake."""
        try:
            ran = self.bench.run(lambda key: fields, numbers=rows)
        except InputError:  # a stateful model takes all samples or none
            return True
        if block.key not in ran.given:
            return False
        theirs = {
            name: Theirs(one.values[rows], one.there[rows], one.slack[rows]) for name, one in block.theirs.items()
        }
        small = replace(block, given=ran.given[block.key], exact=ran.given[block.key], theirs=theirs)
        gaps = small.gap(small.port(fields), np.arange(len(rows)), block.timesteps)
        return all(ok for _, ok in gaps.values())

    # --- words

    def _told(self, found: Sequence[_Found], complete: bool) -> Iterator[Cause]:
        """Yield one cause for the blocks that have it in common."""
        left = list(found)
        while left:
            first = left[0]
            ways = {_words(one) for one in first.hypotheses}
            shared = [other for other in left if other is first or ways & {_words(one) for one in other.hypotheses}]
            common = [
                one for one in first.hypotheses
                if all(_words(one) in {_words(two) for two in other.hypotheses} for other in shared)
            ]  # fmt: skip
            if not common:
                shared, common = [first], first.hypotheses
            left = [other for other in left if other not in shared]
            yield self._cause(common, shared, everything=complete and not left)

    def _cause(self, common: Sequence[Hypothesis], shared: Sequence[_Found], *, everything: bool) -> Cause:
        best = common[0]
        alike = tuple(dict.fromkeys(_words(one) for one in common[1:] if _words(one) != _words(best)))
        where = tuple(" ".join(one.block.key) for one in shared)
        largest = max(one.largest for this in shared for one in this.hypotheses if _words(one) == _words(best))
        text = _words(best)
        if any(this.everywhere for this in shared):
            text += ", in all recurrent layers"
        names = tuple(one.name for one in best.mistakes) + (("number format",) if best.format else ())
        return Cause(names, text, where, largest, best.allowed if best.format else None, everything, alike)

    def _factors(self, block: Block, first: Divergence) -> tuple[Factor, ...]:
        with suppress(ValueError, np.linalg.LinAlgError):
            return factors(block, first)
        return ()


def _words(one: Hypothesis) -> str:
    words = [mistake.text for mistake in one.mistakes]
    if one.format is not None:
        words.append(f"numbers are rounded to {one.format.name}")
    return " and ".join(words)


def _again(block: Block, before: Hypothesis) -> Hypothesis | None:
    """Return the same mistakes in another block, if they explain it."""
    if before.format is not None:
        return None
    there = {(one.name, one.text): one for one in known(circumstances(block))}
    mistakes = [there.get((one.name, one.text)) for one in before.mistakes]
    if any(one is None for one in mistakes):
        return None
    same = tuple(one for one in mistakes if one is not None)
    reports = explains(block, Hypothesis(same, ()).fields)
    if reports is None:
        return None
    return Hypothesis(same, reports, largest=max(report.keras_replay.max_abs for report in reports))


def _flat(part: DirectionTrace) -> dict[str, Array]:
    return {name: value.reshape(*value.shape[:2], -1) for name, value in part.signals.items()}
