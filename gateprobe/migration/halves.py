"""A Bidirectional of Keras before TensorFlow 2.2, as two plain layers.

That of Keras 3 returns zeros at masked timesteps (``Bidirectional.__init__`` in
``keras/src/layers/rnn/bidirectional.py`` 3.15.1 forces ``zero_output_for_mask``), earlier ones what the layers inside
return there. So where a mask reaches one, the layers stand side by side in the graph, and ``keras.ops`` turns the
second one's output and merges both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from gateprobe.graph import Argument, Call, LayerRecord, ModelRecord, TensorRef
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.binding.weight_order import parts_of
from gateprobe.migration.graphs import NUMPY, free, masking, operation, rewired
from gateprobe.migration.masks import Search
from gateprobe.semantics import MaskedOutput, Semantics

_MERGES = {"sum": "Add", "ave": "Add", "mul": "Multiply", "concat": "Concatenate"}


@dataclass(frozen=True, slots=True)
class Half:
    """Where a plain layer comes from."""

    wrapper: LayerRecord
    """The Bidirectional."""
    part: str
    """Path of the half in it."""
    direction: str
    """``forward`` or ``backward``, as the Bidirectional calls it."""
    new_direction: str
    """As the plain layer is called."""


@dataclass(frozen=True, slots=True)
class Split:
    """A model without Bidirectionals that return something else in Keras 3."""

    model: ModelRecord
    halves: Mapping[str, Half]
    """Name of a new layer → where it comes from."""
    refused: Mapping[str, Unsupported]
    """Name of a layer that cannot be split → why."""


def split(model: ModelRecord, semantics: Semantics, *, nested: bool) -> Split:
    """Split every Bidirectional that returns something else at masked timesteps.

    Args:
        model: In the words of the file.
        semantics: Their meaning.
        nested: Whether it stands inside another model, whose masks may reach it.
    """
    if semantics.bidirectional_zeroes_masked:
        return Split(model, {}, {})
    search = Search(model, nested=nested)
    halves: dict[str, Half] = {}
    refs: dict[TensorRef, TensorRef] = {}
    refused: dict[str, Unsupported] = {}
    layers: list[LayerRecord] = []
    for record in model.layers:
        try:
            masks = _masks(record, semantics, search)
        except Unsupported as reason:
            refused[record.name] = reason
            masks = []
        layers += search.fresh()
        if any(mask is not None for mask in masks):
            names = {one.name for one in (*model.layers, *layers)}
            added = _Split(record, masks, names)
            layers += added.layers()
            halves |= added.halves()
            refs |= added.refs()
        else:
            layers.append(record)
    return Split(rewired(replace(model, layers=tuple(layers)), refs), halves, refused)


def _masks(record: LayerRecord, semantics: Semantics, search: Search) -> list[TensorRef | None]:
    """Return the mask of each call, where it makes a difference."""
    if record.class_name != "Bidirectional" or not record.children.get("layer"):
        return []
    inside = record.children["layer"][0].config
    carries = semantics.masked_output is MaskedOutput.CARRIED_STATE
    given = [call for call in record.calls if _states(call)[1]]
    if not inside.get("return_sequences") and not (carries and given):
        return []
    return [_mask(call, search) for call in record.calls]


def _mask(call: Call, search: Search) -> TensorRef | None:
    given = call.kwargs.get("mask")
    x, _ = _states(call)
    if isinstance(given, TensorRef):
        return given
    return search.mask_of(x) if isinstance(x, TensorRef) else None


def _states(call: Call) -> tuple[Argument, tuple[Argument, ...]]:
    """Return the input and the initial states of a call."""
    first = call.args[0] if call.args else None
    if isinstance(first, (tuple, list)):
        return first[0], tuple(first[1:])
    given = call.kwargs.get("initial_state") or (call.args[1] if len(call.args) > 1 else None)
    return first, tuple(given) if isinstance(given, (tuple, list)) else ()


@dataclass(frozen=True, slots=True)
class _Split:
    """One Bidirectional, split. Its layers are named by a word: forward, backward, turned, merged, halved, masked."""

    record: LayerRecord
    masks: list[TensorRef | None]
    taken: set[str]
    """Names of other layers."""

    def name(self, word: str) -> str:
        """Return the name of a new layer."""
        return free(f"{self.record.name}_{word}", self.taken)

    def parts(self) -> list[tuple[str, str, LayerRecord]]:
        """Return word, path and record of both halves."""
        halves = zip(("forward", "backward"), parts_of(self.record).items(), strict=True)
        return [(word, path, part) for word, (path, part) in halves]

    def halves(self) -> dict[str, Half]:
        """Return where the plain layers come from."""
        return {
            self.name(word): Half(self.record, path, word, "backward" if part.config.get("go_backwards") else "forward")
            for word, path, part in self.parts()
        }

    def layers(self) -> Iterator[LayerRecord]:
        """Yield the layers that take the place of one."""
        for number, (word, _, part) in enumerate(self.parts()):
            calls = tuple(self._called(call, number) for call in self.record.calls)
            yield replace(part, name=self.name(word), calls=calls)
        if not self._sequences:
            yield from self._merge([(self._ref("forward", n), self._ref("backward", n)) for n in self._numbers])
            return
        turned = [(self._ref("backward", n),) for n in self._numbers]
        yield operation("Flip", self.name("turned"), {"axis": 1}, *turned)
        pairs = [(self._ref("forward", n), self._ref("turned", n)) for n in self._numbers]
        yield from self._merge(pairs)
        last = "turned" if self._mode is None else self._merged
        yield masking(self.name("masked"), *self._masked(last))

    def refs(self) -> dict[TensorRef, TensorRef]:
        """Return which tensor takes the place of which."""
        found: dict[TensorRef, TensorRef] = {}
        for n in self._numbers:
            first = ["forward"] if self._mode is None else []
            first += ["masked" if self._sequences else "backward" if self._mode is None else self._merged]
            outputs = [self._ref(word, n) for word in first]
            for word, count in zip(("forward", "backward"), self._state_counts(), strict=True):
                outputs += [TensorRef(self.name(word), n, 1 + k) for k in range(count)]
            found |= {TensorRef(self.record.name, n, k): ref for k, ref in enumerate(outputs)}
        return found

    def _masked(self, word: str) -> Iterator[tuple[TensorRef, TensorRef]]:
        for n, mask in zip(self._numbers, self.masks, strict=True):
            if mask is None:
                raise Unsupported("one of its calls sees a mask, and another does not")
            yield self._ref(word, n), mask

    def _merge(self, pairs: list[tuple[TensorRef, TensorRef]]) -> Iterator[LayerRecord]:
        if self._mode is None:
            return
        kind = _MERGES[self._mode]
        together = kind == "Concatenate"
        config = {"axis": -1} if together else {}
        yield operation(kind, self.name("merged"), config, *[((pair,) if together else pair) for pair in pairs])
        if self._mode == "ave":
            halved = [(self._ref("merged", n), 2.0) for n in self._numbers]
            yield operation("Divide", self.name("halved"), {}, *halved, module=NUMPY)

    def _called(self, call: Call, half: int) -> Call:
        x, states = _states(call)
        if len(states) % 2:
            raise Unsupported(f"initial states are split in halves, the call gives {len(states)}")
        own = states[half * len(states) // 2 : (half + 1) * len(states) // 2]
        kwargs = {key: value for key, value in call.kwargs.items() if key != "initial_state"}
        return Call((x,), {**kwargs, **({"initial_state": own} if own else {})})

    def _ref(self, word: str, number: int) -> TensorRef:
        return TensorRef(self.name(word), number)

    def _state_counts(self) -> list[int]:
        return [_count(part) if part.config.get("return_state") else 0 for _, _, part in self.parts()]

    @property
    def _numbers(self) -> range:
        return range(len(self.record.calls))

    @property
    def _mode(self) -> str | None:
        mode: str | None = self.record.config.get("merge_mode", "concat")
        return mode

    @property
    def _merged(self) -> str:
        return "halved" if self._mode == "ave" else "merged"

    @property
    def _sequences(self) -> bool:
        return bool(self.record.children["layer"][0].config.get("return_sequences"))


def _count(part: LayerRecord) -> int:
    """Return how many states a layer has."""
    return sum(counts_of(part))


def counts_of(part: LayerRecord) -> list[int]:
    """Return how many states each cell of a recurrent layer has."""
    if part.class_name in ("RNN", "StackedRNNCells"):
        inside = [*part.children.get("cell", ()), *part.children.get("cells", ())]
        return [count for cell in inside for count in counts_of(cell)]
    return [2 if "LSTM" in part.class_name else 1]
