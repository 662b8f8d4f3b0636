"""What would explain a disagreement: weights that differ, a cause upstream, or one known difference at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.analysis.agreement import Divergence, Tolerance, compare
from gateprobe.analysis.bench import cut, halves_in
from gateprobe.analysis.mistakes.block import Block, Theirs
from gateprobe.analysis.mistakes.known import REVERSED, Mistake, with_slope
from gateprobe.analysis.mistakes.port import kind_of
from gateprobe.analysis.mistakes.search import search
from gateprobe.analysis.mistakes.watch import Halves, Watch, watched
from gateprobe.errors import GateprobeError
from gateprobe.graph import Array
from gateprobe.layers.base import FLOAT64
from gateprobe.replay.objects import ObjectWeights, trace_path
from gateprobe.replay.plan import Plan
from gateprobe.verification.collate import Collated, Precisions, collate
from gateprobe.verification.job import Answer, KerasCall, KerasRun, Tell
from gateprobe.verification.replay import ReplayOptions, Subject, in_both_precisions, replay
from gateprobe.verification.result import Explanation

_SAMPLES = 4
"""How many samples a known difference is tried on, the one that disagrees first among them."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Everything about a disagreement."""

    subject: Subject
    keras: KerasRun
    inputs: Mapping[str, Array]
    """Of the set in which the first disagreement is."""
    options: ReplayOptions
    precisions: Precisions
    names: Sequence[str]
    """Of the outputs."""
    tolerance: Tolerance
    stateful: bool
    objects: Sequence[ObjectWeights]


def weight_differences(objects: Sequence[ObjectWeights], answer: Answer) -> Iterator[tuple[str, str]]:
    """Yield trace path and a sentence for each weight that Keras and the replay do not hold alike."""
    for number, item in enumerate(objects):
        for role, theirs in answer.weights.get(number, {}).items():
            ours = item.weights[role].astype(theirs.dtype)
            if ours.shape != theirs.shape or np.array_equal(ours, theirs, equal_nan=True):
                continue
            different = np.argwhere((ours != theirs) & ~(np.isnan(ours) & np.isnan(theirs)))
            index = tuple(int(n) for n in different[0])
            where = "/".join(part.removeprefix(".") for part in item.path)
            place = ", ".join(map(str, index))
            text = (
                f"{where} {role}[{place}] is {theirs[index]:.9g} in Keras and {ours[index]:.9g} in the replay"
                f" ({len(different)} of {ours.size} numbers differ)"
            )
            yield trace_path(item.path)[0], text


def diagnose(scene: Scene, first: Divergence, tell: Tell) -> Iterator[Explanation]:
    """Yield what would explain the first disagreement."""
    small = scene if scene.stateful else _reduced(scene, first.sample)
    yield from _rounding(small, first)
    if first.timestep is not None:
        yield from _upstream(small, first)
        yield from _reversed(small, first)
    block = _block(small, first)
    if block is not None:
        yield from _known(small, block, tell)


def _known(scene: Scene, block: Block, tell: Tell) -> Iterator[Explanation]:
    """Yield the known mistakes that explain the numbers, as `gateprobe.analysis.compare_port` finds them."""
    tell("trying known mistakes")
    halves = _halves(scene.objects)
    for hypothesis in search(block, tell, pairs=False).found:
        for mistake in hypothesis.mistakes:
            if mistake.name == REVERSED:  # said already, also where it is the replay's mistake
                continue
            everything = any(
                _all_agrees(scene, subject) for subject in altered(scene.subject, mistake, block.key, halves)
            )
            yield Explanation(mistake.name, f"in Keras, {mistake.text}", everything)


def _all_agrees(scene: Scene, subject: Subject) -> bool:
    try:
        collated = _collated(scene, subject)
    except GateprobeError:
        return False
    return not collated.problems and _agrees(collated, scene.tolerance, lambda *_: True)


def _block(scene: Scene, first: Divergence) -> Block | None:
    """Return Keras's numbers of the layer that disagrees beside what it gets; ``None`` if that is not to be had."""
    key, call = _key(first), _call(scene, first)
    given = []
    for precision in (scene.options.precision, FLOAT64):
        watch = Watch(lambda key: {}, {}, {})
        subject = replace(scene.subject, adjust=_watching(scene.subject, watch))
        replay(subject, scene.inputs, replace(scene.options, precision=precision))
        given += watch.seen.get(key, [])
    if len(given) != 2 or call is None or not kind_of(given[0].cell):
        return None
    rows = len(call.signals["hidden_state"])
    plain, exact = (cut(one, rows) for one in given)
    flat = {name: np.asarray(value, np.float64).reshape(*value.shape[:2], -1) for name, value in call.signals.items()}
    theirs = {name: Theirs(value, np.ones(value.shape, bool), np.zeros(value.shape)) for name, value in flat.items()}
    if any(value.shape[:2] != plain.x.shape[:2] for value in flat.values()):
        return None
    return Block(key, plain, exact, theirs, scene.tolerance, _halves(scene.objects).get(key))


def _halves(objects: Sequence[ObjectWeights]) -> Halves:
    return dict(pair for item in objects for pair in halves_in(item))


def altered(subject: Subject, mistake: Mistake, key: tuple[str, str], halves: Halves) -> Iterator[Subject]:
    """Yield what is replayed with a mistake in every recurrent layer, and with one in a single direction of one."""
    if mistake.slope is not None:
        yield replace(subject, semantics=with_slope(subject.semantics, mistake))
        return
    for rule in (lambda other: mistake.fields, lambda other: mistake.fields if other == key else {}):
        yield replace(subject, adjust=_watching(subject, Watch(rule, halves, {})))


def _watching(subject: Subject, watch: Watch) -> Callable[[Plan], Plan]:
    def adjust(plan: Plan) -> Plan:
        plan = plan if subject.adjust is None else subject.adjust(plan)
        return replace(plan, graph=watched(plan.graph, watch))

    return adjust


def _key(first: Divergence) -> tuple[str, str]:
    return first.layer, first.direction


def _reduced(scene: Scene, sample: int) -> Scene:
    """Keep a few samples."""
    count = len(next(iter(scene.inputs.values())))
    picked = np.array([sample, *(n for n in range(count) if n != sample)][:_SAMPLES])

    def cut(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: array[picked] for name, array in arrays.items()}

    calls = tuple(
        replace(
            call,
            signals=cut(call.signals),
            mask=None if call.mask is None else call.mask[picked],
            given=cut(call.given),
            own={},
            stepped={},
        )
        for call in scene.keras.calls
    )
    keras = replace(scene.keras, calls=calls, outputs=tuple(output[picked] for output in scene.keras.outputs))
    return replace(scene, keras=keras, inputs=cut(scene.inputs))


def _collated(scene: Scene, subject: Subject) -> Collated:
    ours, exact = in_both_precisions(subject, scene.inputs, scene.options)
    return collate(scene.keras, ours, exact, scene.precisions, scene.names, 0)


def _agrees(collated: Collated, tolerance: Tolerance, wanted: Callable[[str, str], bool]) -> bool:
    trios = [trio for trio in collated.trios if wanted(trio.layer, trio.direction)]
    return bool(trios) and all(compare(trio, tolerance).agrees for trio in trios)


def _call(scene: Scene, first: Divergence) -> KerasCall | None:
    return next((call for call in scene.keras.calls if (call.path, call.direction) == _key(first)), None)


def _rounding(scene: Scene, first: Divergence) -> Iterator[Explanation]:
    """Compare Keras with the float64 replay alone."""
    collated = _collated(scene, scene.subject)
    trios = [replace(trio, replay=trio.exact) for trio in collated.trios if (trio.layer, trio.direction) == _key(first)]
    if all(compare(trio, scene.tolerance).agrees for trio in trios):
        text = f"Keras and the float64 replay of {first.layer} agree: it is rounding of the replay that is larger"
        yield Explanation("rounding", text, everything=False)


def _upstream(scene: Scene, first: Divergence) -> Iterator[Explanation]:
    """Give the layer what Keras gave it: if it agrees then, the cause is what came before."""
    call = _call(scene, first)
    if call is None or "input" not in call.given:
        return
    if _agrees_when_fed(scene, first, call, {f"{call.layer}.mask": _mask(call)}):
        text = f"with the mask that Keras gave it, {call.layer} agrees"
        yield Explanation("mask", text, everything=False)
    elif _agrees_when_fed(scene, first, call, _feeds(scene, call)):
        text = (
            f"given the input, mask and initial states that Keras gave it, {call.layer} agrees: the cause is upstream"
        )
        yield Explanation("upstream", text, everything=False)


def _mask(call: KerasCall) -> Array:
    """Return Keras's mask; one that keeps everything where it has none."""
    return call.mask if call.mask is not None else np.ones(call.signals["hidden_state"].shape[:2], bool)


def _agrees_when_fed(scene: Scene, first: Divergence, call: KerasCall, feeds: Mapping[str, Array]) -> bool:
    options = replace(scene.options, outputs=False, traced=lambda path: path == call.path)
    try:
        ours, exact = in_both_precisions(scene.subject, scene.inputs, options, feeds)
    except GateprobeError:  # not every layer can be fed: one inside a TimeDistributed is called many times
        return False
    collated = collate(replace(scene.keras, calls=(call,), outputs=()), ours, exact, scene.precisions, (), 0)
    return _agrees(collated, scene.tolerance, lambda layer, direction: (layer, direction) == _key(first))


def _feeds(scene: Scene, call: KerasCall) -> dict[str, Array]:
    feeds = {call.layer: call.given["input"]}
    if call.mask is not None:
        feeds[f"{call.layer}.mask"] = call.mask
    together = [c for c in scene.keras.calls if c.layer == call.layer and c.path == call.path]
    together.sort(key=lambda c: c.direction != "forward")
    states = [c.given[name] for c in together for name in sorted(c.given) if name.startswith("initial_")]
    return feeds | {f"{call.layer}.initial_state[{n}]": state for n, state in enumerate(states)}


def _reversed(scene: Scene, first: Divergence) -> Iterator[Explanation]:
    """Compare with Keras's numbers in the opposite order of time."""
    call = _call(scene, first)
    if call is None or not call.backwards:
        return
    reversed_call = replace(
        call,
        signals={name: value[:, ::-1] for name, value in call.signals.items()},
        mask=None if call.mask is None else call.mask[:, ::-1],
    )
    others = tuple(reversed_call if one is call else one for one in scene.keras.calls)
    collated = _collated(replace(scene, keras=replace(scene.keras, calls=others)), scene.subject)
    if _agrees(collated, scene.tolerance, lambda layer, direction: (layer, direction) == _key(first)):
        what = f"the {first.direction} signals of {first.layer}"
        text = f"{what} agree in the opposite order of time: one side is not reversed"
        yield Explanation(REVERSED, text, not collated.problems)
