"""Small traces for the tests of writers and selections, and a plain loop that says what a table must hold."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gateprobe.traces.chunk import DirectionTrace, TraceChunk, blank

LSTM = ("input_gate", "forget_gate", "candidate", "output_gate", "cell_state", "hidden_state")
GRU = ("update_gate", "reset_gate", "candidate", "hidden_state")
NASTY_NAMES = [
    "lstm",
    "a,b",
    'say "hi"',
    "two\nlines",
    "=cmd()",
    "@x",
    "x\x1b[31m",
    "enc/lstm:1",
    "../../up",
    "a\\b",
    "é",
]


def direction_of(layer, direction, signals, mask=None, timesteps=None, length=None):
    shape = next(iter(signals.values())).shape
    return DirectionTrace(
        layer,
        direction,
        direction == "backward",
        blank(dict(signals), mask),
        mask,
        np.arange(shape[1]) if timesteps is None else timesteps,
        np.arange(int(np.prod(shape[2:]))),
        shape[1] if length is None else length,
    )


def lstm_chunk(samples=3, timesteps=4, units=2, *, layer="lstm", masked=False, seed=0, first=0):
    rng = np.random.default_rng(seed)
    mask = rng.random((samples, timesteps)) > 0.3 if masked else None
    signals = {name: rng.uniform(-1, 1, (samples, timesteps, units)).astype(np.float32) for name in LSTM}
    return TraceChunk(np.arange(first, first + samples), (direction_of(layer, "forward", signals, mask),))


@st.composite
def chunks(draw):
    """A chunk with one to three directions of different shapes, masks and signals, and any numbers in them."""
    samples = draw(st.integers(1, 5))
    values = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)
    directions = []
    for layer in draw(st.lists(st.sampled_from(NASTY_NAMES), min_size=1, max_size=2, unique=True)):
        timesteps, units = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        names = draw(st.sampled_from([LSTM, GRU, ("hidden_state",), ("pre_forget_gate", "forget_gate")]))
        mask = draw(st.none() | hnp.arrays(np.bool_, (samples, timesteps)))
        for direction in draw(st.sampled_from([("forward",), ("forward", "backward")])):
            shape = (samples, timesteps, units)
            signals = {name: draw(hnp.arrays(np.float32, shape, elements=values)) for name in names}
            directions.append(direction_of(layer, direction, signals, mask))
    return TraceChunk(np.arange(7, 7 + samples), tuple(directions))


def rows_of(chunk):
    """Yield the rows of the tidy table, one value after the other: ``None`` is no value."""
    known = (*LSTM[:2], *GRU[:2], *LSTM[2:], "pre_forget_gate")
    present = [name for name in known if any(name in part.signals for part in chunk.directions)]
    for n, sample in enumerate(chunk.samples):
        for part in chunk.directions:
            for t, timestep in enumerate(part.timesteps):
                step = part.length - 1 - timestep if part.backwards else timestep
                masked = part.mask is not None and not part.mask[n, t]
                for u, unit in enumerate(part.units):
                    row = {"sample": sample, "layer": part.layer, "direction": part.direction, "timestep": timestep}
                    row |= {"step": step, "unit": unit, "masked": masked}
                    for name in present:
                        used = name in part.signals and not (masked and name not in ("cell_state", "hidden_state"))
                        row[name] = part.signals[name][n, t, u] if used else None
                    yield row


def same_bits(ours, theirs):
    """Whether two float32 are the same number; all NaN are one."""
    ours, theirs = np.float32(ours), np.float32(theirs)
    return (np.isnan(ours) and np.isnan(theirs)) or ours.tobytes() == theirs.tobytes()
