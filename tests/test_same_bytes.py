"""A sample's numbers are the same bit by bit: alone, in a selection, in the whole run, in any batch, on any thread."""

import ast
import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain, lstm_weights

import gateprobe.layers.recurrent.lstm
import gateprobe.layers.recurrent.rnn
import gateprobe.replay.run
from gateprobe.cli import main
from gateprobe.errors import InputError
from gateprobe.inputs.samples import load
from gateprobe.layers.recurrent.kernels import blas, compiled
from gateprobe.layers.recurrent.kernels.blas import ONE_THREAD, Product, heights, memory, multiply, pack
from gateprobe.model import opened
from gateprobe.replay.threads import cores, in_order, threads_of
from gateprobe.traces.selection import Ranges, Selection

PACKAGE = Path(gateprobe.replay.run.__file__).parent
UNITS = 65  # no number of rows, columns or units here is one that a BLAS likes


def normal(*shapes):
    rng = np.random.default_rng(len(shapes))
    return [rng.normal(0, 0.3, shape).astype(np.float32) for shape in shapes]


def cell(gates, features=3):
    return normal((features, gates * UNITS), (UNITS, gates * UNITS), (gates * UNITS,))


SEQUENCES = {"units": UNITS, "return_sequences": True}
LAYERS = {
    "LSTM": ("LSTM", SEQUENCES, cell(4)),
    "LSTM of another activation": ("LSTM", {**SEQUENCES, "activation": "softsign"}, cell(4)),
    "LSTM in half precision": ("LSTM", {**SEQUENCES, "dtype": "float16"}, cell(4)),
    "GRU": ("GRU", {**SEQUENCES, "reset_after": False}, cell(3)),
    "GRU in half precision": ("GRU", {**SEQUENCES, "reset_after": False, "dtype": "float16"}, cell(3)),
    "SimpleRNN": ("SimpleRNN", SEQUENCES, cell(1)),
    "Dense": ("Dense", {"units": 70}, normal((3, 70), (70,))),
    "Conv1D": ("Conv1D", {"filters": 70, "kernel_size": [5], "padding": "same"}, normal((5, 3, 70), (70,))),
    "SeparableConv1D": (
        "SeparableConv1D",
        {"filters": 70, "kernel_size": [4], "padding": "same", "depth_multiplier": 2, "use_bias": False},
        normal((4, 3, 2), (1, 6, 70)),
    ),
    "EinsumDense": (
        "EinsumDense",
        {"equation": "abc,cd->abd", "output_shape": [None, 70], "bias_axes": "d"},
        normal((3, 70), (70,)),
    ),
}


def model_of(name, timesteps=None):
    class_name, config, weights = LAYERS[name]
    last = {"units": UNITS, "return_sequences": True}
    width = weights[-1].shape[-1] if class_name not in ("LSTM", "GRU", "SimpleRNN") else UNITS
    rng = np.random.default_rng(0)
    layers = [
        (class_name, "layer", config),
        ("LSTM", "last", last),
        ("GlobalAveragePooling1D", "mean", {}),
        ("Dense", "head", {"units": 300, "activation": "softmax"}),
    ]
    arrays = {
        "layer": weights,
        "last": lstm_weights(rng, width, UNITS),
        "head": normal((UNITS, 300), (300,)),
    }
    return chain(layers, arrays, input_shape=(None, timesteps, 3))


def drawn(samples, timesteps=9):
    return np.random.default_rng(1).normal(size=(samples, timesteps, 3)).astype(np.float32)


def bits(trace):
    return {
        (part.layer, part.direction, name): value for part in trace.directions for name, value in part.signals.items()
    }


def assert_bits(ours, whole, numbers):
    assert ours.keys() == whole.keys()
    for key, value in ours.items():
        assert value.tobytes() == np.ascontiguousarray(whole[key][numbers]).tobytes(), key


@pytest.mark.parametrize("name", LAYERS)
def test_neither_batch_nor_selection_nor_threads_change_a_bit(name):
    model, x = model_of(name), drawn(70)
    whole, outputs = bits(model.trace(x, threads=1)), model.predict(x, threads=1)["head"]
    for options in ({"batch_size": 1}, {"batch_size": 7, "threads": 3}, {"batch_size": 70}, {"batch_size": 64}):
        assert_bits(bits(model.trace(x, **options)), whole, slice(None))
        assert model.predict(x, **options)["head"].tobytes() == outputs.tobytes()
    for sample in (0, 3, 31, 69):
        chosen = Selection(samples=Ranges(str(sample)))
        assert_bits(bits(model.trace(x, selection=chosen)), whole, [sample])
        assert_bits(bits(model.trace(x[[sample]])), whole, [sample])
        assert model.predict(x[[sample]])["head"].tobytes() == outputs[[sample]].tobytes()
    shuffled = np.random.default_rng(2).permutation(70)
    assert_bits(bits(model.trace(x[shuffled], batch_size=33)), whole, shuffled)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sample_is_the_same_at_every_place_of_a_batch(dtype):
    model, x = model_of("LSTM"), drawn(40)
    alone = bits(model.trace(x[:1], dtype=dtype))
    for place in range(40):
        turned = bits(model.trace(np.roll(x, place, axis=0), batch_size=40, dtype=dtype))
        assert_bits(alone, turned, [place])


def test_long_samples_are_the_same_alone_and_among_others(monkeypatch):
    monkeypatch.setattr(gateprobe.replay.run, "LONG", 8)
    monkeypatch.setattr(gateprobe.replay.run, "SLAB", 4)
    model, x = model_of("Dense"), drawn(5)
    model_with_sequences = chain([("LSTM", "last", SEQUENCES)], {"last": cell(4)}, input_shape=(None, None, 3))
    for each in (model, model_with_sequences):
        whole = bits(each.trace(x))
        assert_bits(bits(each.trace(x[2:3])), whole, [2])
        assert_bits(bits(each.trace(x, selection=Selection(samples=Ranges("1,4")), batch_size=2)), whole, [1, 4])


def test_a_fed_layer_is_the_same_in_any_batch(tmp_path):
    model, x = model_of("Conv1D"), drawn(20)
    fed = np.random.default_rng(5).normal(size=(20, 9, 70)).astype(np.float32)

    def traced(numbers, **options):
        np.save(tmp_path / "x.npy", x[numbers])
        np.save(tmp_path / "fed.npy", fed[numbers])
        samples = load([str(tmp_path / "x.npy")], model.inputs, [f"last={tmp_path / 'fed.npy'}"])
        return bits(model.trace(samples, selection=Selection(layers=("last",)), **options))

    whole = traced(np.arange(20))
    assert_bits(traced(np.arange(20), batch_size=1), whole, slice(None))
    assert_bits(traced(np.array([7])), whole, [7])


@pytest.mark.skipif(not compiled.is_installed(), reason="needs the extra fast")
@pytest.mark.parametrize("large", [0, 1 << 30])
def test_compiled_samples_are_the_same_in_any_batch(large, monkeypatch):
    monkeypatch.setattr(compiled, "_LARGE", large)
    model, x = model_of("LSTM"), drawn(41)
    whole = bits(model.trace(x, kernel="compiled", threads=1))
    assert_bits(bits(model.trace(x, kernel="compiled", batch_size=1)), whole, slice(None))
    assert_bits(bits(model.trace(x, kernel="compiled", batch_size=10, threads=3)), whole, slice(None))
    assert_bits(bits(model.trace(x[5:6], kernel="compiled")), whole, [5])


def test_the_length_of_a_run_does_not_choose_the_kernel(monkeypatch):
    asked = []
    monkeypatch.setattr(compiled, "is_available", lambda: asked.append(True) or False)
    model = model_of("LSTM", timesteps=50)
    for samples in (1, 2000):
        tracing = opened(model).tracing(np.broadcast_to(np.float32(0), (samples, 50, 3)))
        assert not tracing.batches.kernel.compiles(50)
    assert not asked


@pytest.mark.parametrize(
    ("rows", "columns"), [(3, 5), (33, 128), (257, 64), (300, 240), (257, 512), (641, 300), (50, 1), (1, 9), (2000, 10)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_a_product_do_not_know_of_each_other(rows, columns, dtype):
    rng = np.random.default_rng(rows)
    matrix, x = rng.normal(size=(rows, columns)).astype(dtype), rng.normal(size=(75, rows)).astype(dtype)
    expected, error = x.astype(np.float64) @ matrix, 1e-3 if dtype == np.float32 else 1e-9
    with ONE_THREAD:
        whole, stepped = multiply(x, matrix), product(x, matrix)
        np.testing.assert_allclose(whole, expected, rtol=0, atol=error)
        np.testing.assert_allclose(stepped, expected, rtol=0, atol=error)
        for count in (1, 2, 3, 5, 8, 12, 13, 31, 32, 33, 36, 74):
            for start in (0, 1):
                part = slice(start, start + count)
                assert multiply(x[part], matrix).tobytes() == whole[part].tobytes()
                assert product(x[part], matrix).tobytes() == stepped[part].tobytes()


def product(x, matrix):
    left = memory(*x.shape, x.dtype)
    left[: len(x)] = x
    return np.ascontiguousarray(Product(left, pack(matrix, 1), len(x))()[0])


def test_a_blas_that_never_rounds_alike_gets_one_row_at_a_time(monkeypatch):
    """Tiles are multiplied only in heights for which the BLAS, asked, gives equal rows for equal rows."""
    blas.heights.cache_clear()
    monkeypatch.setattr(blas, "_product_of_alike", lambda v, height, m: v[:, 0] if height == 1 else None)
    try:
        assert heights(30, 20, "float32") == (1,)
    finally:
        blas.heights.cache_clear()


MATMUL = {  # where products may stand: per sample, or of fixed shape
    "recurrent/kernels/blas.py": None,
    "recurrent/kernels/stacked.py": "a single sequence that is always alone",
    "binding/lora.py": "weights with weights",
}


def test_layers_multiply_samples_with_weights_by_one_function():
    """A product of all samples and a matrix would round by their number; `multiply` is the one place for it."""
    found = []
    for path in sorted((PACKAGE / "layers").rglob("*.py")):
        name = path.relative_to(PACKAGE / "layers").as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            product = isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)
            named = isinstance(node, ast.Attribute) and node.attr in ("dot", "tensordot", "inner", "vdot")
            if (product or named) and name not in MATMUL:
                found.append(f"{name}:{node.lineno}")
    assert not found


def blas_threads():
    from threadpoolctl import threadpool_info

    return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]


def test_the_blas_has_one_thread_during_a_replay_and_its_own_afterwards():
    from threadpoolctl import threadpool_limits

    model, seen = model_of("LSTM"), []
    with threadpool_limits(3, user_api="blas"):
        before = blas_threads()
        original = gateprobe.layers.recurrent.rnn._run
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                gateprobe.layers.recurrent.rnn, "_run", lambda *a: seen.append(blas_threads()) or original(*a)
            )
            chunks = model.iter_trace(drawn(70), batch_size=10, threads=2)
            next(chunks)
            chunks.close()
        assert blas_threads() == before
        with ONE_THREAD:
            with ONE_THREAD:
                assert set(blas_threads()) == {1}
            assert set(blas_threads()) == {1}
        assert blas_threads() == before
    assert seen
    assert {count for counts in seen for count in counts} == {1}


@pytest.mark.parametrize(
    ("options", "side_by_side"),
    [
        ({}, False),  # 32 samples x 34,320 weights
        ({"batch_size": 60}, True),
        ({"batch_size": 10, "threads": 2}, True),
        ({"kernel": "compiled", "batch_size": 10}, True),
    ],
)
def test_short_steps_run_on_one_thread_unless_more_are_asked_for(options, side_by_side, monkeypatch):
    """Two threads took 1.2 times as long as one for 64 units and batches of 32."""
    seen = set()
    original = gateprobe.replay.run._run_batch
    monkeypatch.setattr("gateprobe.replay.threads.cores", lambda: 2)
    monkeypatch.setattr(
        "gateprobe.replay.run._run_batch", lambda *a: seen.add(threading.current_thread().name) or original(*a)
    )
    model_of("LSTM").trace(drawn(120), **options)
    assert (threading.current_thread().name not in seen) == side_by_side


def test_the_blas_is_held_until_the_last_thread_is_out():
    inside, leave = threading.Barrier(2), threading.Event()

    def other():
        with ONE_THREAD:
            inside.wait(5)
            leave.wait(5)

    from threadpoolctl import threadpool_limits

    with threadpool_limits(3, user_api="blas"):
        thread = threading.Thread(target=other)
        with ONE_THREAD:
            thread.start()
            inside.wait(5)
        assert set(blas_threads()) == {1}
        leave.set()
        thread.join()
        assert set(blas_threads()) == {3}


def test_results_come_in_order_and_few_are_begun():
    begun, release, done = [], threading.Event(), []

    def job(number):
        begun.append(number)
        release.wait(5)
        return number

    jobs = ((lambda n=n: job(n)) for n in range(20))
    results = in_order(jobs, 3, threading.Event())
    timer = threading.Timer(0.2, release.set)
    timer.start()
    done.append(next(results))
    assert len(begun) <= 5  # three at work, one that waits, and one whose result was taken
    assert [*done, *results] == list(range(20))


def test_a_fault_surfaces_after_what_came_before_it():
    def job(number):
        if number == 4:
            raise InputError("the fifth")
        return number

    before = threading.active_count()
    results, taken = in_order((lambda n=n: job(n) for n in range(50)), 3, threading.Event()), []
    with pytest.raises(InputError, match="the fifth"):
        taken.extend(iter(lambda: next(results), None))
    assert taken == [0, 1, 2, 3]
    assert threading.active_count() == before


def test_batches_that_are_no_longer_wanted_end_at_once(monkeypatch):
    """As when Ctrl-C is pressed: a run is closed while others are in the middle of long sequences."""
    model = chain([("LSTM", "last", SEQUENCES)], {"last": cell(4)}, input_shape=(None, None, 3))
    before = threading.active_count()
    steps = itertools.count()
    original = gateprobe.layers.recurrent.lstm.StackedSteps.step
    monkeypatch.setattr(gateprobe.layers.recurrent.lstm.StackedSteps, "step", lambda *a: (next(steps), original(*a))[1])
    chunks = model.iter_trace(drawn(40, timesteps=15_000), batch_size=2, threads=2, kernel="numpy")
    next(chunks)
    chunks.close()
    assert threading.active_count() == before
    assert next(steps) < 4 * 15_000  # three batches were begun, and two of them not finished


@pytest.mark.parametrize("wanted", [0, -1, 1.5, True, "2"])
def test_what_is_no_number_of_threads_is_refused(wanted):
    with pytest.raises(InputError, match="is no number of threads; choose one from 1 on"):
        model_of("LSTM").trace(drawn(3), threads=wanted)


def test_a_container_may_have_fewer_cores_than_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr("os.process_cpu_count", lambda: 8, raising=False)
    for text, expected in (("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("garbage", 8)):
        quota = tmp_path / "cpu.max"
        quota.write_text(text, encoding="ascii")
        monkeypatch.setattr("gateprobe.replay.threads._QUOTA", quota)
        assert cores() == threads_of(None) == expected
    monkeypatch.setattr("gateprobe.replay.threads._QUOTA", tmp_path / "missing")
    assert cores() == 8


@pytest.mark.parametrize("command", ["dump", "predict"])
def test_the_program_writes_the_same_bytes_on_any_number_of_threads(command, tmp_path):
    samples = Path(__file__).parents[1] / "sample_models"
    written = []
    for threads in ("1", "2", "5"):
        out = tmp_path / f"{threads}.npz"
        arguments = [str(samples / "keras2.h5"), str(samples / "keras2.npy"), "--threads", threads, "-o", str(out)]
        assert CliRunner().invoke(main, [command, *arguments, "--batch-size", "1"]).exit_code == 0
        written.append(out.read_bytes())
    assert written[0] == written[1] == written[2]


def test_stateful_batches_run_in_order():
    rng = np.random.default_rng(0)
    config = {**SEQUENCES, "stateful": True}
    model = chain([("LSTM", "lstm", config)], {"lstm": lstm_weights(rng, 3, UNITS)}, input_shape=(2, None, 3))
    x = drawn(40)
    assert_bits(bits(model.trace(x, threads=4)), bits(model.trace(x, threads=1)), slice(None))
