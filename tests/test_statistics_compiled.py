"""Statistics by compiled code (the extra ``fast``) are those of the plain loop."""

import numpy as np
import pytest
from hypothesis import given
from test_statistics import MODELS, check, parts
from traces import direction_of

import gateprobe
from gateprobe.analysis import statistics as looking
from gateprobe.analysis.direction_statistics import Settings
from gateprobe.analysis.statistics import statistics
from gateprobe.traces.chunk import TraceChunk


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Leave everything to what looks at the rest of a long run, where the extra is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looking, "LONG", 0)
        yield


@given(parts())
def test_compiled_code_gives_the_same(part):
    check(statistics([TraceChunk(np.arange(len(part["hidden_state"])), (part,))], Settings()), [part], "layer", 1e-5)


@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("samples", "timesteps", "units"), [(64, 61, 40), (31, 130, 3), (900, 9, 2), (5, 6, 600)])
def test_compiled_code_at_sizes_that_it_cuts(samples, timesteps, units, masked, way):
    """Samples share columns, columns come in tiles, some rows are left over, and memory is read-only or reversed."""
    rng = np.random.default_rng(4)
    values = rng.normal(0.5, 0.3, (timesteps, 2, samples, units)).astype(np.float32)
    at = slice(None, None, -1 if way == "backward" else 1)
    signals = {name: np.swapaxes(values[at, k], 0, 1) for k, name in enumerate(("forget_gate", "hidden_state"))}
    mask = rng.random((samples, timesteps)) < 0.8 if masked else None
    part = direction_of("layer", way, signals, mask)
    for value in part.values():
        value.flags.writeable = False
    check(statistics([TraceChunk(np.arange(samples), (part,))], Settings(by="unit")), [part], "unit")


def test_rows_that_compiled_code_takes_are_those_of_the_trace():
    """Of every timestep: so few are all of the sample."""
    model, x = gateprobe.read(MODELS / "tokens.keras"), np.load(MODELS / "tokens.npy")
    trace = model.trace(x)
    for part in trace.stats().parts:
        signals = trace[f"{part.layer}/{part.direction}"].directions[0]
        assert len(part.where) == signals.mask.sum()
        for (sample, timestep), row in zip(part.where, part.sampled, strict=True):
            assert row.tolist() == [signals[name][sample, timestep].tolist() for name in part.signals]
        for (sample, timestep), row in zip(part.where, part.before, strict=True):
            step = timestep + (1 if signals.backwards else -1)
            there = 0 <= step < len(signals.timesteps)
            np.testing.assert_array_equal(row, signals["cell_state"][sample, step] if there else [np.nan] * 4)
