"""What a SavedModel proves about a ``BasicDecoder`` of TensorFlow Addons.

Keras records its cell and its output layer, but neither its sampler nor, often, its settings: the layer has no
``get_config``. TensorFlow records the loop itself, as functions in ``saved_model.pb``. From them follows, for each
decoder: how the next input and the end of a sequence are found (the sampler), what becomes of finished sequences, and
in which order axes stand. What is not found exactly as the Addons build it is not assumed: the decoder is then refused.

Loop variables (``tensorflow_addons/seq2seq/decoder.py::dynamic_decode`` 0.20): counter, limit, time, outputs, sample
ids, one or more states, input, finished, lengths, then what the loop only reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateprobe.readers.savedmodel.graph import Function, Library, Unproven, Value

_COUNTER, _LIMIT, _TIME, _OUTPUTS, _IDS, _STATES = range(6)
_IF = ("If", "StatelessIf")
_WHILE = ("While", "StatelessWhile")
_SELECT = ("SelectV2", "Select")
_NOT_TRAINING = "its sampler is not a TrainingSampler: {}"


@dataclass(frozen=True, slots=True)
class _Loop:
    """The loop of one recorded call, with its variables by number."""

    call: Function
    node: Value
    body: Function
    condition: Function
    finished: int
    """Number of the loop variable that says which sequences are finished."""

    @property
    def given(self) -> list[Value]:
        """What the call gives the loop variables before the first step."""
        return self.node.inputs(*_WHILE)

    def results(self) -> list[Value]:
        """Return what one step gives the loop variables."""
        return [self.body.result(number) for number in range(self.finished + 2)]


def decoder_settings(library: Library, layer: int) -> dict[str, Any]:
    """Return the settings of a decoder, from all recorded calls of it.

    Args:
        library: Of the file.
        layer: Number of the object.

    Raises:
        Unproven: The functions are missing, differ, or are not those of a ``TrainingSampler``.
    """
    names = library.calls_of(layer)
    if not names:
        raise Unproven("no call of it is recorded (was it saved with save_traces=False?)")
    found = [_settings(library, library.function(name)) for name in names]
    if any(settings != found[0] for settings in found[1:]):
        raise Unproven("its recorded calls differ")
    return found[0]


def _settings(library: Library, call: Function) -> dict[str, Any]:
    loop = _loop(library, call)
    sequence, length = _sampled(library, loop)
    return {
        "sampler": "training",
        "sampler_time_major": not _transposed(sequence, loop),
        "output_time_major": _outputs_time_major(loop),
        "impute_finished": _imputes(loop),
        "maximum_iterations": _limit(loop),
        "lengths_from": _length_source(length),
    }


def _loop(library: Library, call: Function) -> _Loop:
    loops = [name for name, node in call.nodes.items() if node.op in _WHILE]
    if len(loops) != 1:
        raise Unproven(f"its call holds {len(loops)} loops in place of one")
    node = call.nodes[loops[0]]
    body, condition = (library.function(node.function(part)) for part in ("body", "cond"))
    finished = [number for number in range(_STATES + 1, len(body.returns)) if _ends(body, number)]
    if len(finished) != 1 or finished[0] + 2 > len(body.arguments) or len(node.inputs) != len(body.arguments):
        raise Unproven(_NOT_TRAINING.format("a sequence does not end at time + 1 >= length"))
    return _Loop(call, call.value(f"{loops[0]}:output:0"), body, condition, finished[0])


def _ends(body: Function, number: int) -> bool:
    """Whether a loop variable becomes ``time + 1 >= length or finished``."""
    return bool(_ending(body, number))


def _ending(body: Function, number: int) -> list[Value]:
    """Return ``time + 1 >= length`` from ``finished or time + 1 >= length``."""
    operands = body.result(number).inputs("LogicalOr")
    others = [operand for operand in operands if operand.argument != number]
    return [v for v in others if len(others) == 1 and len(operands) == 2 and _next(v.inputs("GreaterEqual")[:1])]


def _next(values: Sequence[Value]) -> bool:
    """Whether a value is ``time + 1``."""
    return _plus_one(values, _TIME)


def _plus_one(values: Sequence[Value], number: int) -> bool:
    """Whether a value is a loop variable plus one."""
    operands = values[0].inputs("AddV2", "Add") if values else []
    variables = [operand for operand in operands if operand.argument == number]
    return len(operands) == 2 and len(variables) == 1 and any(operand.constant == 1 for operand in operands)


def _sampled(library: Library, loop: _Loop) -> tuple[Value, Value]:
    """Check every use of the sampler; return the values in the call of its sequence and its lengths."""
    body, given, finished = loop.body, loop.given, loop.finished
    ending = _ending(body, finished)[0]
    length = _read(loop, ending.inputs("GreaterEqual")[1], "length")
    sequence = _read(loop, _next_input(library, loop, ending), "input")
    started = _started(given[finished], length)
    at_once = _branched(library, given[finished - 1])
    first = at_once.item() if at_once else []
    if not started or not at_once or not _all_of(at_once.condition, started):
        raise Unproven(_NOT_TRAINING.format("the first input is not that of time 0"))
    if len(first) != 3 or first[1].constant != 0 or not at_once.outer(first[0]).same(sequence):
        raise Unproven(_NOT_TRAINING.format("the first input is not that of time 0"))
    _check_lengths(loop)
    return sequence, length


def _read(loop: _Loop, value: Value, what: str) -> Value:
    """Return the value in the call of something that the loop only reads."""
    number = value.argument
    if number is None or number <= loop.finished + 1 or loop.body.result(number).argument != number:
        raise Unproven(_NOT_TRAINING.format(f"its {what} changes in the loop"))
    return loop.given[number]


def _next_input(library: Library, loop: _Loop, ending: Value) -> Value:
    """Return the sequence from ``zeros if all(ended) else sequence[time + 1]``."""
    branched = _branched(library, loop.body.result(loop.finished - 1))
    taken = branched.item() if branched else []
    if not branched or len(taken) != 3 or not _all_of(branched.condition, ending):
        raise Unproven(_NOT_TRAINING.format("the next input is not that of time + 1"))
    if not _next([branched.outer(taken[1])]):
        raise Unproven(_NOT_TRAINING.format("the next input is not that of time + 1"))
    return branched.outer(taken[0])


@dataclass(frozen=True, slots=True)
class _Branched:
    """A value that depends on a condition."""

    condition: Value
    otherwise: Value
    """What it is when the condition is false, inside the branch."""
    given: Sequence[Value]
    """What the branches are given, outside of them."""

    def item(self) -> list[Value]:
        """Return list, index and shape of the item of a list that it is when the condition is false."""
        return self.otherwise.inputs("TensorListGetItem")

    def outer(self, value: Value) -> Value:
        """Return what a value inside the branch is outside of it."""
        if value.argument is None or value.argument >= len(self.given):
            raise Unproven("a branch computes what it should be given")
        return self.given[value.argument]


def _branched(library: Library, value: Value) -> _Branched | None:
    operands = value.inputs(*_IF)
    if not operands or value.node is None or value.port != "output:0":
        return None
    branch = library.function(value.node.function("else_branch"))
    return _Branched(operands[0], branch.result(0), operands[1:])


def _all_of(value: Value, operand: Value) -> bool:
    return any(inner.same(operand) for inner in value.inputs("All")[:1])


def _started(value: Value, length: Value) -> Value | None:
    """Return ``0 == length`` from it, or from ``0 == length or 0 >= limit``."""
    candidates = [value, *value.inputs("LogicalOr")]
    for candidate in candidates:
        operands = candidate.inputs("Equal")
        if len(operands) == 2 and any(o.constant == 0 for o in operands) and any(o.same(length) for o in operands):
            return candidate
    return None


def _check_lengths(loop: _Loop) -> None:
    """Check that a length is the time at which a sequence was first seen to be finished."""
    number = loop.finished + 1
    operands = loop.body.result(number).inputs(*_SELECT)
    unfinished = operands[0].inputs("LogicalNot") if len(operands) == 3 else []
    filled = operands[1].inputs("Fill") if len(operands) == 3 else []
    held = len(operands) == 3 and operands[2].argument == number
    if not held or [v.argument for v in unfinished] != [loop.finished] or not _next(filled[1:2]):
        raise Unproven("its lengths are not counted as the Addons do")
    if not _next([loop.body.result(_TIME)]):
        raise Unproven("its time does not go up by one")


def _written(loop: _Loop, number: int) -> Value:
    """Return what one step writes into a list at ``time``."""
    operands = loop.body.result(number).inputs("TensorListSetItem")
    if len(operands) != 3 or operands[1].argument != _TIME:
        raise Unproven("its outputs are not written step by step")
    return operands[2]


def _imputes(loop: _Loop) -> bool:
    """Tell whether finished sequences hold their states and give zeros; check that sample ids are the largest."""
    states = [_held(loop, loop.body.result(number), number) for number in range(_STATES, loop.finished - 1)]
    output, ids = (_kept(loop, _written(loop, number)) for number in (_OUTPUTS, _IDS))
    found = {held for held, _ in (*states, output, ids)}
    if len(found) != 1:
        raise Unproven("it treats the states of finished sequences otherwise than their outputs")
    cast = ids[1].inputs("Cast")
    largest = cast[0].inputs("ArgMax") if cast else []
    if len(largest) != 2 or largest[1].constant != -1 or not largest[0].same(output[1]):
        raise Unproven(_NOT_TRAINING.format("the sample ids are not the largest outputs"))
    return found.pop()


def _held(loop: _Loop, value: Value, number: int) -> tuple[bool, Value]:
    """Take ``old if finished else new`` apart."""
    operands = value.inputs(*_SELECT)
    if len(operands) == 3 and operands[1].argument == number and _is_finished(loop, operands[0]):
        return True, operands[2]
    return False, value


def _kept(loop: _Loop, value: Value) -> tuple[bool, Value]:
    """Take ``zeros if finished else output`` apart."""
    operands = value.inputs(*_SELECT)
    if len(operands) == 3 and _is_finished(loop, operands[0]):
        return True, operands[2]
    return False, value


def _is_finished(loop: _Loop, value: Value) -> bool:
    """Whether a value is the loop variable ``finished``, broadcast or not."""
    for op in ("BroadcastTo", "ExpandDims"):
        value = next(iter(value.inputs(op)), value)
    return value.argument == loop.finished


def _limit(loop: _Loop) -> int | None:
    """Return the largest number of steps, ``None`` when there is no limit."""
    limit = loop.given[_LIMIT].constant
    parts = loop.condition.result(0)
    both = parts.inputs("LogicalAnd")
    goes_on = [value for value in (both or [parts]) if _unfinished(loop, value)]
    counted = [value for value in both if [v.argument for v in value.inputs("Less")] == [_COUNTER, _LIMIT]]
    if loop.given[_COUNTER].constant != 0 or not _plus_one([loop.body.result(_COUNTER)], _COUNTER):
        raise Unproven("its steps are not counted one by one")
    if len(goes_on) != 1 or len(counted) != int(bool(both)) or limit is None or limit == 0:
        raise Unproven("its loop ends otherwise than the Addons do")
    if bool(both) != (limit > 0):
        raise Unproven("its limit of steps is not a constant")
    return limit if both else None


def _unfinished(loop: _Loop, value: Value) -> bool:
    """Whether a value in the condition is ``not all(finished)``."""
    negated = value.inputs("LogicalNot")
    return bool(negated) and [v.argument for v in negated[0].inputs("All")[:1]] == [loop.finished]


def _outputs_time_major(loop: _Loop) -> bool:
    """Tell whether the stacked outputs are returned as they are, or transposed."""
    found = {_stacked(loop, number) for number in (0, 1)}
    if len(found) != 1:
        raise Unproven("its outputs and its sample ids have their axes in different orders")
    return found.pop()


def _stacked(loop: _Loop, number: int) -> bool:
    value = loop.call.result(number)
    transposed = value.inputs("Transpose")
    stacked = (transposed[0] if transposed else value).inputs("TensorListStack")
    if not stacked or stacked[0].node != loop.node.node or stacked[0].port != f"output:{_OUTPUTS + number}":
        raise Unproven("it returns something else than its stacked outputs")
    return not transposed


def _transposed(sequence: Value, loop: _Loop) -> bool:
    """Tell whether the sampler turns its input round, that is, takes samples first."""
    listed = sequence.inputs("TensorListFromTensor")
    transposed = listed[0].inputs("Transpose") if listed else []
    source = transposed[0] if transposed else listed[0] if listed else sequence
    if source.argument != 0:
        raise Unproven(_NOT_TRAINING.format("it does not read the input as it is"))
    return bool(transposed)


def _length_source(length: Value) -> str:
    """Tell where the lengths come from."""
    if length.argument is not None:
        return "sequence_length"
    summed = length.inputs("Sum")
    cast = summed[0].inputs("Cast") if summed else []
    if cast and cast[0].argument is not None:
        return "mask"
    if length.op in ("Fill", "Const") and not any(value.argument for value in _ancestors(length)):
        return "timesteps"
    raise Unproven(_NOT_TRAINING.format("its lengths are computed"))


def _ancestors(value: Value) -> Iterator[Value]:
    """Yield a value and everything that it is computed from, each once."""
    seen: list[Value] = []
    stack = [value]
    while stack:
        found = stack.pop()
        if not any(found.same(other) for other in seen):
            seen.append(found)
            yield found
            if found.node is not None:
                stack += [found.function.value(text) for text in found.node.inputs]
