"""Tables and arrays of other programs: what their names, shapes and digits say."""

import io
import math
import tracemalloc

import numpy as np
import pytest
from compare.planting import bidirectional, lstm
from graphs import chain, lstm_weights

import gateprobe
from gateprobe.errors import GateprobeError, InputError, ReadError, UnsafeFile
from gateprobe.trace_files.foreign import is_foreign, of_arrays, read_foreign
from gateprobe.trace_files.names import read_name
from gateprobe.trace_files.printed import slack_of

LETTERS = {"i": "input_gate", "f": "forget_gate", "g": "candidate", "o": "output_gate", "c": "cell_state",
           "h": "hidden_state"}  # fmt: skip


@pytest.fixture(scope="module")
def scene():
    return lstm()


@pytest.fixture(scope="module")
def numbers(scene):
    """Letter → (samples, timesteps, units) of a right port."""
    ported = scene.ported()
    return {letter: ported[f"lstm/forward/{name}"] for letter, name in LETTERS.items()}


def table(numbers, *, rows=None, title="{}_{}", show="{:.7f}".format, separator=",", time="t", first=0, header=True):
    """Return one sample as a wide table."""
    units = next(iter(numbers.values())).shape[-1]
    titles = ([time] if time else []) + [title.format(letter, unit) for letter in numbers for unit in range(units)]
    timesteps = range(next(iter(numbers.values())).shape[0])
    lines = [separator.join(titles)] if header else []
    for t in timesteps if rows is None else rows:
        cells = [show(value) for letter in numbers for value in numbers[letter][t]]
        lines.append(separator.join([*([str(t + first)] if time else []), *cells]))
    return "\n".join(lines) + "\n"


def compared(scene, text, tmp_path, samples=slice(0, 1), **options):
    (tmp_path / "log.csv").write_text(text)
    return gateprobe.compare_port(scene.model, scene.x[samples], tmp_path / "log.csv", **options)


def one(numbers, sample=0):
    return {letter: value[sample] for letter, value in numbers.items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"title": "{}{}"},
        {"title": "{}[{}]"},
        {"title": "{}({})"},
        {"title": "{}.{}"},
        {"title": "{} {}"},
        {"separator": "\t"},
        {"separator": ";"},
        {"separator": " "},
        {"time": None},
        {"first": 1},
        {"rows": range(2, 6)},
        {"rows": range(2, 6), "time": None},
        {"rows": range(5, -1, -1)},
        {"time": "timestep"},
        {"time": "TIME"},
        {"show": "{:.4f}".format},
        {"show": "{:.4g}".format},
        {"show": "{:.3e}".format},
        {"show": lambda value: str(round(value, 4))},
        {"show": repr},
        {"show": lambda value: repr(float(value))},
        {"show": lambda value: str(np.float32(value))},
    ],
    ids=lambda options: "-".join(f"{key}={value}" if not callable(value) else key for key, value in options.items()),
)
def test_a_right_port_agrees_however_it_logs(scene, numbers, tmp_path, options):
    if options.get("show") is repr:
        options = {"show": lambda value: repr(float(value))}
    result = compared(scene, table(one(numbers), **options), tmp_path)
    assert result, repr(result)
    assert len(result.signals) == 6
    assert all(signal.values == 3 * len(options.get("rows", range(6))) for signal in result.signals)


@pytest.mark.parametrize("show", ["{:.4f}", "{:.4g}", "{:.6f}", "{:.2e}"])
def test_more_than_half_of_the_last_digit_is_too_much(scene, numbers, tmp_path, show):
    wrong = {letter: value.copy() for letter, value in one(numbers).items()}
    last = {"{:.4f}": 1e-4, "{:.4g}": 1e-4, "{:.6f}": 5e-6, "{:.2e}": 1e-2}[show]
    wrong["f"][3, 1] = float(show.format(wrong["f"][3, 1])) + last * (
        10 ** math.floor(math.log10(wrong["f"][3, 1])) * 10 if "f" not in show else 1
    )
    result = compared(scene, table(wrong, show=show.format), tmp_path, pairs=False)
    assert not result
    assert (result.first.signal, result.first.timestep, result.first.unit) == ("forget_gate", 3, 1)


def test_exact_zeros_are_not_taken_for_coarse_numbers():
    texts = ["0", "0.0", "0.123456", "0.5", "0.25", "0.654321", "0.111111"]
    slack = slack_of(texts, np.array([float(text) for text in texts]))
    assert slack.max() <= 5.1e-7


def test_digits_are_counted_from_the_text():
    fixed = [f"{value:.3f}" for value in np.linspace(0.001, 1, 40)]
    assert np.allclose(slack_of(fixed, np.array([float(text) for text in fixed])), 5e-4)
    floating = [f"{value:.3g}" for value in np.geomspace(1.234e-5, 0.9876, 60)]
    values = np.array([float(text) for text in floating])
    assert np.allclose(slack_of(floating, values), 0.5 * 10.0 ** (np.floor(np.log10(values)) - 2))
    exact = [repr(float(value)) for value in np.random.default_rng(0).normal(0, 1, 50)]
    assert slack_of(exact, np.array([float(text) for text in exact])).max() < 1e-14


@pytest.mark.parametrize(
    ("text", "signal", "unit", "layer", "direction"),
    [
        ("i_0", "input_gate", 0, None, None),
        ("forget_gate[3]", "forget_gate", 3, None, None),
        ("c_tilde_12", "candidate", 12, None, None),
        ("j7", "candidate", 7, None, None),
        ("z[1]", "z", 1, None, None),
        ("C_2", "cell_state", 2, None, None),
        ("h_t", "hidden_state", None, None, None),
        ("h_tilde_4", "candidate", 4, None, None),
        ("pre_forget_gate_1", "pre_forget_gate", 1, None, None),
        ("lstm_1/forward/forget_gate", "forget_gate", None, "lstm_1", "forward"),
        ("outer/inner/backward/o_5", "output_gate", 5, "outer/inner", "backward"),
        ("lstm_1.f", "forget_gate", None, "lstm_1", None),
        ("bw_h2", "hidden_state", 2, None, "backward"),
        ("h_fw_0", "hidden_state", 0, None, "forward"),
        ("Forget Gate 2", "forget_gate", 2, None, None),
    ],
)
def test_names_are_read(text, signal, unit, layer, direction):
    found = read_name(text, {})
    assert (found.signal, found.unit, found.layer, found.direction) == (signal, unit, layer, direction)


@pytest.mark.parametrize("text", ["temperature", "q_1", "x0", "x_1", "12", "loss", "lstm/whatever", ""])
def test_other_names_say_nothing(text):
    assert read_name(text, {}) is None


@pytest.mark.parametrize(("letters", "meaning"), [("zifoch", "candidate"), ("zrh", "update_gate")])
def test_z_is_what_the_other_signals_make_it(letters, meaning):
    found = of_arrays({letter: np.zeros((2, 3, 1)) for letter in letters}, "theirs")
    assert found.written[0].signal == meaning


def test_z_alone_is_what_the_layer_makes_it(scene, numbers):
    assert gateprobe.compare_port(scene.model, scene.x, {"z": numbers["g"], "h": numbers["h"]})


def test_names_are_mapped(scene, numbers, tmp_path):
    text = table(one(numbers), title="{}x{}").replace("ix", "gate1_").replace("fx", "remember")
    text = text.replace("gx", "new").replace("ox", "out_gate").replace("cx", "c").replace("hx", "h")
    with pytest.raises(ReadError, match="nothing is called 'nothing'"):
        compared(scene, text, tmp_path, mapping={"nothing": "f"})
    result = compared(scene, text, tmp_path, mapping={"gate1": "i", "remember": "forget_gate", "new": "g"})
    assert result
    assert len(result.signals) == 6
    result = compared(scene, text, tmp_path, mapping={"gate1": "i"})
    assert {signal.signal for signal in result.signals} == set(LETTERS.values()) - {"forget_gate", "candidate"}
    assert any("remember0" in note for note in result.notes)


def test_a_wrong_mapping_is_refused(scene, numbers, tmp_path):
    text = table(one(numbers))
    for mapping, words in (({"gatex": "f"}, "nothing is called 'gatex'"), ({"i": "f"}, "both|all mean|twice")):
        with pytest.raises(ReadError, match=words):
            compared(scene, text, tmp_path, mapping=mapping)


def test_arrays_of_every_shape_find_their_place(scene, numbers, tmp_path):
    h = numbers["h"]
    np.save(tmp_path / "h.npy", h)
    assert gateprobe.compare_port(scene.model, scene.x, tmp_path / "h.npy")
    assert gateprobe.compare_port(scene.model, scene.x[:1], h[0])
    assert gateprobe.compare_port(scene.model, scene.x, h[:, -1])
    assert gateprobe.compare_port(scene.model, scene.x, h.reshape(18, 3))
    assert gateprobe.compare_port(scene.model, scene.x[:1], h[0, -1])
    assert gateprobe.compare_port(scene.model, scene.x, h[:, 2:])
    np.savez(tmp_path / "h.npz", **{f"h_{unit}": h[0, :, unit] for unit in range(3)})
    assert gateprobe.compare_port(scene.model, scene.x[:1], tmp_path / "h.npz")
    np.savetxt(tmp_path / "h.txt", h[0])
    assert gateprobe.compare_port(scene.model, scene.x[:1], tmp_path / "h.txt")
    for wrong in (np.zeros((3, 7, 3)), np.zeros((4, 6, 3)), np.zeros((3, 6, 2)), np.zeros((5, 3))):
        with pytest.raises(InputError, match="no recurrent layer fits"):
            gateprobe.compare_port(scene.model, scene.x, wrong)


def test_last_decides_where_both_would_fit(scene):
    x = np.random.default_rng(2).normal(0, 1, (6, 6, 3)).astype(np.float32)
    h = scene.model.trace(x)["lstm"]["hidden_state"]
    as_rows = gateprobe.compare_port(scene.model, x, h[0])
    assert as_rows
    assert any("--last" in note for note in as_rows.notes)
    assert gateprobe.compare_port(scene.model, x, h[:, -1], last=True)
    assert not gateprobe.compare_port(scene.model, x, h[:, -1], pairs=False)


def test_the_layer_is_the_one_that_fits_or_that_is_named(tmp_path):
    rng = np.random.default_rng(1)
    layers = [
        ("LSTM", name, {"units": units, "return_sequences": True}) for name, units in (("a", 2), ("b", 3), ("d", 3))
    ]
    weights = {"a": lstm_weights(rng, 2, 2), "b": lstm_weights(rng, 2, 3), "d": lstm_weights(rng, 3, 3)}
    model = chain(layers, weights, input_shape=(None, None, 2))
    x = rng.normal(0, 1, (2, 4, 2)).astype(np.float32)
    trace = model.trace(x)
    result = gateprobe.compare_port(model, x, trace["a"]["hidden_state"])
    assert result
    assert any("taken for a forward" in note for note in result.notes)
    with pytest.raises(InputError, match="its shape fits several: b forward, d forward; choose one with layers"):
        gateprobe.compare_port(model, x, trace["d"]["hidden_state"])
    assert gateprobe.compare_port(model, x, trace["d"]["hidden_state"], layers="d")
    assert not gateprobe.compare_port(model, x, trace["d"]["hidden_state"], layers="b", pairs=False)
    named = {"d/h": trace["d"]["hidden_state"], "b/f": trace["b"]["forget_gate"]}
    result = gateprobe.compare_port(model, x, named)
    assert [(one.layer, one.signal) for one in result.signals] == [("b", "forget_gate"), ("d", "hidden_state")]
    with pytest.raises(InputError, match="no recurrent layer 'dd'; did you mean d"):
        gateprobe.compare_port(model, x, {"dd/h": trace["d"]["hidden_state"]})
    assert gateprobe.compare_port(model, x, {"dd/h": trace["d"]["hidden_state"]}, mapping={"dd": "d"})


def test_a_direction_is_asked_for_where_both_fit():
    scene = bidirectional()
    h = scene.ported()["bi/backward/hidden_state"]
    with pytest.raises(InputError, match="bi forward, bi backward; choose one with direction"):
        gateprobe.compare_port(scene.model, scene.x, h)
    assert gateprobe.compare_port(scene.model, scene.x, h, direction="backward")
    assert gateprobe.compare_port(scene.model, scene.x, {"bw_h": h})


def test_layer_and_direction_columns_say_where_rows_belong(tmp_path):
    scene = bidirectional()
    rows = ["layer,direction,sample,timestep,f_0,f_1"]
    for way in ("forward", "backward"):
        f = scene.ported()[f"bi/{way}/forget_gate"]
        for n, t in np.ndindex(3, 6):
            cells = [f"{v:.6f}" if scene.mask[n, t] else "" for v in f[n, t]]
            rows.append(f"bi,{way},{n},{t},{','.join(cells)}")
    (tmp_path / "log.csv").write_text("\n".join(rows))
    result = gateprobe.compare_port(scene.model, scene.x, tmp_path / "log.csv")
    assert result
    assert [(one.direction, one.values) for one in result.signals] == [("forward", 28), ("backward", 28)]


@pytest.mark.parametrize("layout", ["tidy", "long", "wide"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "arrow", "npz", "h5"])
def test_every_format_of_ours_is_read(tmp_path, suffix, layout):
    if layout != "tidy" and suffix in ("npz", "h5"):
        layout = "tidy"
    scene = bidirectional()
    trace = scene.model.trace(scene.x, pre_activations=True)
    path = tmp_path / f"trace.{suffix}"
    trace.save(path, layout=layout)
    assert is_foreign(str(path))
    result = gateprobe.compare_port(scene.model, scene.x, path)
    assert result
    assert len(result.signals) == 20
    other = gateprobe.compare(trace, path)
    assert other
    assert len(other.signals) == 20
    assert other.notes == ()


# what is no table of signals


BAD = {
    "empty": (b"", "is empty"),
    "binary": (b"\x00\x01\x02", "neither text nor"),
    "ragged": (b"i_0,i_1\n0.1,0.2\n0.1\n0.1,0.2,0.3\n", "not a table"),
    "words": (b"i_0\nyes\n", "'yes' is not a number"),
    "header only": (b"i_0,f_0\n", "header and no rows"),
    "nameless": (b"a,b\n0.1,0.2\n", "no name in it is that of a signal"),
    "twice": (b"i_0,i0\n0.1,0.2\n", "stands twice"),
    "two columns": (b"i_0,i_0\n0.1,0.2\n", "two columns"),
    "whole numbers": (b"i_0,f_0\n128,12\n-4,7\n", "whole numbers only"),
    "gaps in time": (b"t,i_0\n0,0.1\n,0.2\n", "has gaps"),
    "sparse": (b"t,i_0\n0,0.1\n999999999,0.2\n", "fits|few"),
    "no such signal": (b"signal,value\nbogus,0.1\n", "'bogus' is no signal"),
    "gzip": (b"\x1f\x8b\x08\x00abc", "neither text nor"),
    "bad zip": (b"PK\x03\x04zz", "not a readable|damaged|npz"),
    "bad npy": (b"\x93NUMPYzz", "npy"),
    "bad parquet": (b"PAR1zzzz", "damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_says_nothing_is_refused_in_one_line(scene, tmp_path, name):
    data, words = BAD[name]
    (tmp_path / "bad.csv").write_bytes(data)
    with pytest.raises(GateprobeError, match=words) as caught:
        gateprobe.compare_port(scene.model, scene.x, tmp_path / "bad.csv")
    assert "\n" not in str(caught.value)
    assert "bad.csv" in str(caught.value)


def test_what_is_not_there_is_refused(scene, tmp_path):
    with pytest.raises(ReadError, match="no such file"):
        gateprobe.compare_port(scene.model, scene.x, tmp_path / "none.csv")
    with pytest.raises(ReadError, match="is a URL"):
        read_foreign("https://example.org/x.csv")
    data = io.BytesIO()
    np.savez(data, h=np.array([object()]))
    (tmp_path / "bad.npz").write_bytes(data.getvalue())
    with pytest.raises(ReadError, match="pickled"):
        gateprobe.compare_port(scene.model, scene.x, tmp_path / "bad.npz")


def test_a_limit_is_kept(scene, numbers, tmp_path):
    (tmp_path / "log.csv").write_text(table(one(numbers)))
    with pytest.raises(GateprobeError, match="limit"):
        read_foreign(str(tmp_path / "log.csv"), max_bytes=100)


def test_a_table_of_many_cells_or_one_long_text_keeps_to_the_limit(tmp_path):
    rows = "".join(f"{step},0.5,{'x' * 100_000 if step == 7 else ''}\n" for step in range(2_000))
    (tmp_path / "t.csv").write_text(f"timestep,h_0,note\n{rows}")
    tracemalloc.start()
    try:
        assert read_foreign(str(tmp_path / "t.csv")).written[0].values.shape == (1, 2_000, 1)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20  # notes all as long as the longest would take 800 MB
    finally:
        tracemalloc.stop()
    with pytest.raises(UnsafeFile, match="needs more than the 400,000 bytes of the limit"):
        read_foreign(str(tmp_path / "t.csv"), max_bytes=400_000)
