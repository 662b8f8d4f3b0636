"""ConvLSTMs in inspect and in tables: rows, columns and filters instead of one flat unit."""

import json
import re

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from graphs import chain, lstm_weights

import gateprobe
from gateprobe.cli import main
from gateprobe.cli.pages import show_summary
from gateprobe.cli.summary import summarise
from gateprobe.graph import LayerRecord
from gateprobe.model import opened

RNG = np.random.default_rng(5)
SIZES = {1: (5,), 2: (3, 4), 3: (2, 1, 3)}
AXES = {1: ["row", "filter"], 2: ["row", "column", "filter"], 3: ["row", "column", "depth", "filter"]}


def conv(rank, filters=2, *, first=False, channels=2):
    """Return layer and weights of a ConvLSTM whose images stay as large as its input's."""
    window = (2,) * rank
    config = {"filters": filters, "kernel_size": list(window), "padding": "same", "return_sequences": True}
    config["data_format"] = "channels_first" if first else "channels_last"
    shapes = ((*window, channels, 4 * filters), (*window, filters, 4 * filters), (4 * filters,))
    return config, [RNG.normal(0, 0.5, shape) for shape in shapes]


def made(rank=2, *, first=False, beside=False):
    """Return a model with a ConvLSTM, perhaps with an LSTM behind it, and its input."""
    config, weights = conv(rank, first=first)
    name = f"ConvLSTM{rank}D"
    sizes = (2, *SIZES[rank]) if first else (*SIZES[rank], 2)
    layers, arrays = [(name, "images", config)], {"images": weights}
    if beside:
        layers += [
            ("Reshape", "flat", {"target_shape": [4, int(np.prod(sizes))]}),
            ("LSTM", "plain", {"units": 3, "return_sequences": True}),
        ]
        arrays["plain"] = lstm_weights(RNG, int(np.prod(sizes)), 3)
    return chain(layers, arrays, input_shape=(None, 4, *sizes)), RNG.normal(size=(3, 4, *sizes)).astype(np.float32)


def placed(trace, direction, signal):
    """Yield sample, timestep, place by name, and value of every number, by plain loops over the axes."""
    value = direction.signals[signal]
    names = [name for name, _ in direction.grid] or ["unit"]
    for index in np.ndindex(*value.shape):
        yield trace.samples[index[0]], index[1], dict(zip(names, index[2:], strict=True)), value[index]


def parts(trace):
    return [direction for name in trace for direction in trace[name].directions]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_row_says_row_column_and_filter(rank, first):
    model, x = made(rank, first=first)
    trace = model.trace(x)
    assert trace["images"].forward.forget_gate.ndim == rank + 3
    table = trace.to_polars()
    assert table.columns[5 : 6 + rank + 1] == [*AXES[rank], "masked"]
    ours = {
        (row["sample"], row["timestep"], *(row[axis] for axis in AXES[rank])): row["forget_gate"]
        for row in table.iter_rows(named=True)
    }
    (direction,) = parts(trace)
    assert len(ours) == direction.forget_gate.size
    for sample, timestep, place, value in placed(trace, direction, "forget_gate"):
        assert ours[sample, timestep, *(place[axis] for axis in AXES[rank])] == value


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow", "jsonl", "npz", "h5"])
@pytest.mark.parametrize("layout", ["tidy", "long", "wide"])
@pytest.mark.parametrize("what", [{"rank": 1}, {"first": True}, {"rank": 3}, {"beside": True}])
def test_what_is_written_is_read_back_with_its_axes(what, layout, form, tmp_path):
    if form in ("npz", "h5") and layout != "tidy":
        layout = "tidy"  # they have no layout
    model, x = made(**what)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1]])
    trace = model.trace(feeds={"images": x, "images.mask": mask})
    options = {} if form in ("npz", "h5") else {"layout": layout}
    trace.save(tmp_path / f"t.{form}", **options)
    again = gateprobe.load_trace(tmp_path / f"t.{form}")
    for one, two in zip(parts(trace), parts(again), strict=True):
        assert (one.layer, one.grid, one.units.tolist()) == (two.layer, two.grid, two.units.tolist())
        for name, value in one.signals.items():
            np.testing.assert_array_equal(two.signals[name], value, err_msg=name)


def test_beside_an_lstm_each_layer_has_its_own_columns(tmp_path):
    model, x = made(beside=True)
    table = model.trace(x).to_polars()
    assert table.columns[5:10] == ["unit", "row", "column", "filter", "masked"]
    images, plain = (table.filter(pl.col("layer") == name) for name in ("images", "plain"))
    assert images["unit"].null_count() == len(images)
    assert plain.select("row", "column", "filter").null_count().row(0) == (len(plain),) * 3
    assert plain["unit"].to_list()[:4] == [0, 1, 2, 0]
    wide = model.trace(x).to_polars(layout="wide")
    assert wide.columns[6:10] == ["input_gate_0", "input_gate_1", "input_gate_2", "input_gate_0_0_0"]
    assert "input_gate_2_3_1" in wide.columns


def test_units_count_through_row_column_and_filter(tmp_path):
    model, x = made()
    whole, some = (model.trace(x, units=units) for units in (None, [3, 9]))
    grid = [size for _, size in whole["images"].forward.grid]
    assert grid == [3, 4, 2]
    table = some.to_polars()
    assert table.select("row", "column", "filter").unique(maintain_order=True).rows() == [(0, 1, 1), (1, 0, 1)]
    value = whole["images"].forward.forget_gate
    np.testing.assert_array_equal(some["images"].forward.forget_gate[..., 0], value[:, :, 0, 1, 1])
    np.testing.assert_array_equal(some["images"].forward.forget_gate[..., 1], value[:, :, 1, 0, 1])
    for form in ("npz", "h5", "csv"):
        some.save(tmp_path / f"some.{form}")
        again = gateprobe.load_trace(tmp_path / f"some.{form}")["images"].forward
        np.testing.assert_array_equal(again.forget_gate, some["images"].forward.forget_gate)
        assert [numbers.tolist() for numbers in again.places.values()] == [[0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",row,column,", ",column,row,", 1),
        lambda text: text.replace(",0,0,0,false", ",0,0,,false", 1),
        lambda text: text.replace(",0,0,1,false", ",0,0,-1,false", 1),
        lambda text: text.replace(",0,0,1,false", ",0,0,0,false", 1),
        lambda text: text.replace(",0,0,1,false", ",0,0,999999999,false"),
        lambda text: "\n".join([*text.split("\n")[:1], *text.split("\n")[2:1:-1], *text.split("\n")[3:]]),
    ],
)
def test_a_table_with_other_places_is_refused(change, tmp_path):
    model, x = made()
    model.trace(x).save(tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(change(text))
    assert change(text) != text
    with pytest.raises(gateprobe.ReadError):
        gateprobe.load_trace(tmp_path / "t.csv")


def test_an_index_with_other_axes_is_refused(tmp_path):
    model, x = made()
    model.trace(x).save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as stored:
        arrays = dict(stored)
    said = json.loads(str(arrays["__metadata__"]))
    (direction,) = said["trace"]["directions"]
    assert direction["grid"] == [["row", 3], ["column", 4], ["filter", 2]]
    for grid in ([["row", 3], ["filter", 8]], [["row", 4], ["column", 3], ["filter", 2]], [["x", 3]], 3):
        direction["grid"] = grid
        np.savez(tmp_path / "bad.npz", **{**arrays, "__metadata__": np.array(json.dumps(said))})
        with pytest.raises(gateprobe.ReadError):
            gateprobe.load_trace(tmp_path / "bad.npz")


def test_inspect_shows_filters_kernel_size_and_direction(capsys):
    config, weights = conv(2, filters=3)
    layer = LayerRecord("inner", "ConvLSTM2D", {"name": "inner", **config, "go_backwards": True})
    layers = [("Bidirectional", "both", {"merge_mode": "concat"}, {"layer": layer})]
    model = chain(layers, {"both": [*weights, *weights]}, input_shape=(None, 4, 3, 4, 2))
    report = summarise(opened(model))
    cells = report["recurrent"][0]["cells"]
    assert [cell["direction"] for cell in cells] == [
        one.direction for one in parts(model.trace(np.ones((1, 4, 3, 4, 2))))
    ]
    traced = parts(model.trace(np.ones((1, 4, 3, 4, 2), np.float32)))
    assert [one.direction for one in traced] == ["forward", "backward"]
    assert {(cell["class"], cell["filters"], cell["kernel_size"], cell["features"]) for cell in cells} == {
        ("ConvLSTM2DCell", 3, (2, 2), 2)
    }
    show_summary(report, everything=False)
    shown = capsys.readouterr().out
    assert re.search(
        r"recurrent layer\tcell\tdirection\tfeatures\tfilters\tkernel size\tgates\tactivation\ttrace", shown
    )
    assert re.search(r"both\tConvLSTM2DCell\tforward\t2\t3\t2×2\tsigmoid\ttanh\tyes", shown)


def test_a_trace_of_images_can_be_inspected_and_summarised(tmp_path):
    model, x = made()
    model.trace(x).save(tmp_path / "t.csv")
    assert "images" in CliRunner().invoke(main, ["inspect", str(tmp_path / "t.csv")]).stdout
    done = CliRunner().invoke(main, ["stats", str(tmp_path / "t.csv"), "--by", "unit", "--unit", "3"])
    assert done.exit_code == 0, done.stderr
