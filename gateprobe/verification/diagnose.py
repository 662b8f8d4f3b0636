"""What would explain a disagreement: weights that differ, a cause upstream, or one known difference at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateprobe.errors import GateprobeError
from gateprobe.graph import Array
from gateprobe.layers.base import FLOAT64
from gateprobe.replay.run import plain_path
from gateprobe.verification.alterations import alterations
from gateprobe.verification.blueprint import ObjectPath, ObjectWeights
from gateprobe.verification.collate import Collated, Precisions, collate
from gateprobe.verification.compare import Divergence, Tolerance, compare
from gateprobe.verification.job import Answer, KerasCall, KerasRun, Tell
from gateprobe.verification.replay import Options, Replayed, Subject, replay
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
    options: Options
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


def trace_path(path: ObjectPath) -> tuple[str, str | None]:
    """Return layer path and direction, as in a trace, of an object."""
    parts: list[str] = []
    direction = None
    for part in path:
        if part in (".forward_layer", ".backward_layer"):
            direction = part[1:].removesuffix("_layer")
        elif part not in (".cell", ".cells"):
            parts.append(f"cell_{part}" if part.isdigit() and parts else part.removeprefix("."))
    return "/".join(parts), direction


def diagnose(scene: Scene, first: Divergence, tell: Tell) -> Iterator[Explanation]:
    """Yield what would explain the first disagreement."""
    small = scene if scene.stateful else _reduced(scene, first.sample)
    target = _target(scene.objects, first)
    yield from _rounding(small, first)
    if first.timestep is not None:
        yield from _upstream(small, first)
        yield from _reversed(small, first)
    for known in alterations(scene.subject, target, first.layer, first.direction):
        tell(f"trying: {known.text}")
        try:
            collated = _collated(small, known.subject)
        except GateprobeError:
            continue
        if _agrees(collated, scene.tolerance, lambda layer, direction: (layer, direction) == _key(first)):
            everything = not collated.problems and _agrees(collated, scene.tolerance, lambda *_: True)
            yield Explanation(known.name, known.text, everything)


def _key(first: Divergence) -> tuple[str, str]:
    return first.layer, first.direction


def _target(objects: Sequence[ObjectWeights], first: Divergence) -> ObjectWeights | None:
    for item in objects:
        layer, direction = trace_path(item.path)
        if layer == plain_path(first.layer) and direction in (None, first.direction):
            return item
    return None


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
    ours = replay(subject, scene.inputs, scene.options)
    exact = replay(subject, scene.inputs, replace(scene.options, precision=FLOAT64))
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
        ours, exact = (
            replay(scene.subject, scene.inputs, replace(options, precision=precision), feeds)
            for precision in (options.precision, FLOAT64)
        )
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
    ours: list[Replayed] = [
        replay(scene.subject, scene.inputs, replace(scene.options, precision=precision))
        for precision in (scene.options.precision, FLOAT64)
    ]
    collated = collate(replace(scene.keras, calls=others), ours[0], ours[1], scene.precisions, scene.names, 0)
    if _agrees(collated, scene.tolerance, lambda layer, direction: (layer, direction) == _key(first)):
        what = f"the {first.direction} signals of {first.layer}"
        text = f"{what} agree in the opposite order of time: one side is not reversed"
        yield Explanation("backward not reversed", text, not collated.problems)
