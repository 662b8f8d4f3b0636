"""A file's bytes depend on the samples alone: not on where they come from, how they lie in memory, or who follows."""

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain, lstm_weights
from hypothesis import given, settings
from hypothesis import strategies as st

import gateprobe.replay.run
from gateprobe.cli import main
from gateprobe.inputs.samples import load
from gateprobe.traces.selection import Ranges, Selection
from gateprobe.writers import Output, trace_formats, write

SUFFIXES = [kind.name for kind in trace_formats()]
SAMPLES = Path(__file__).parents[1] / "sample_models"

quick = settings(max_examples=25)


def recurrent(units, layer="LSTM", **config):
    """A masked LSTM below another layer."""
    rng = np.random.default_rng(units)
    layers = [
        ("Masking", "mask", {}),
        ("LSTM", "lower", {"units": units, "return_sequences": True}),
        (layer, "upper", {"units": 3, **config}),
    ]
    weights = {"lower": lstm_weights(rng, 2, units), "upper": lstm_weights(rng, units, 3)}
    return chain(layers, weights, input_shape=(None, None, 2))


def drawn(samples, timesteps, seed):
    x = np.random.default_rng(seed).normal(size=(samples, timesteps, 2)).astype(np.float32)
    x[::2, 1:3] = 0  # masked
    return x


def arrivals(x, folder):
    """Yield the same samples as a caller's array, as a file, and lying otherwise in either."""
    layouts = [x, np.asfortranarray(x), np.flip(np.flip(x, 1).copy(), 1), x.astype(">f4"), x.tolist()]
    yield from layouts
    for number, layout in enumerate(layouts):
        path = folder / f"x{number}.npy"
        np.save(path, np.asarray(layout, None if number < 4 else np.float32))
        yield str(path)


def dumped(model, x, folder, suffix, **options):
    path = folder / f"trace.{suffix}"
    samples = load([x], model.inputs) if isinstance(x, str) else x
    write(model.iter_trace(samples, **options), [Output(str(path), force=True)], {})
    return path.read_bytes()


@pytest.mark.parametrize(
    "long", [pytest.param(False, id="whole"), pytest.param(True, id="slabs", marks=pytest.mark.slow)]
)
@quick
@given(samples=st.integers(1, 6), timesteps=st.integers(4, 9), suffix=st.sampled_from(SUFFIXES), data=st.data())
def test_bytes_do_not_depend_on_where_samples_lie(tmp_path, monkeypatch, long, samples, timesteps, suffix, data):
    with monkeypatch.context() as patch:
        if long:
            patch.setattr(gateprobe.replay.run, "LONG", 3)
            patch.setattr(gateprobe.replay.run, "SLAB", 2)
        model, x = recurrent(5), drawn(samples, timesteps, data.draw(st.integers(0, 9)))
        number, rows = data.draw(st.integers(1, samples)), data.draw(st.integers(1, 7))
        selection = Selection(samples=Ranges(f"0:{number}"))
        ways = arrivals(x, tmp_path)
        expected = dumped(model, next(ways), tmp_path, suffix, batch_size=rows, selection=selection)
        for x in ways:
            assert dumped(model, x, tmp_path, suffix, batch_size=rows, selection=selection) == expected


@quick
@given(samples=st.integers(1, 20), more=st.integers(0, 20), rows=st.integers(1, 8), units=st.integers(1, 40))
def test_samples_do_not_know_who_follows(samples, more, rows, units):
    """The last batch is padded with copies, so that it has the rows of the others."""
    model, x = recurrent(units), drawn(samples + more, 4, units)
    rows = min(rows, samples)
    few, many = (model.trace(part, batch_size=rows) for part in (x[:samples], x))
    for one, other in zip(few.directions, many.directions, strict=True):
        for name, value in one.signals.items():
            assert value.tobytes() == other.signals[name][:samples].tobytes()


@quick
@given(samples=st.integers(1, 9), rows=st.integers(1, 9), seed=st.integers(0, 99))
def test_the_order_of_samples_is_all_that_changes_when_they_change_places(samples, rows, seed):
    model, x = recurrent(7, "LSTM", go_backwards=True), drawn(samples, 5, seed)
    order = np.random.default_rng(seed).permutation(samples)
    straight, turned = (model.trace(part, batch_size=rows) for part in (x, x[order]))
    for one, other in zip(straight.directions, turned.directions, strict=True):
        for name, value in one.signals.items():
            np.testing.assert_array_equal(other.signals[name], value[order])


def test_files_tables_and_pipes_give_the_same_bytes(tmp_path):
    x, held = np.load(SAMPLES / "keras2.npy"), io.BytesIO()
    np.save(held, x)
    np.savez(tmp_path / "x.npz", x=x)
    table = "sample,timestep,a,b\n" + "".join(
        f"{n},{t},{float(x[n, t, 0])!r},{float(x[n, t, 1])!r}\n" for n, t in np.ndindex(x.shape[:2])
    )
    (tmp_path / "x.csv").write_text(table)
    sources = [(SAMPLES / "keras2.npy", None), (tmp_path / "x.npz", None), (tmp_path / "x.csv", None)]
    found = set()
    for source, stdin in [*sources, ("-", held.getvalue()), ("-", table.encode())]:
        done = CliRunner().invoke(main, ["dump", str(SAMPLES / "keras2.h5"), str(source)], input=stdin)
        assert done.exit_code == 0, done.output
        found.add(done.stdout_bytes)
    assert len(found) == 1
