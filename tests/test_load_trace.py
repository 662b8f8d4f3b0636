"""Traces read back: what was written comes back, and a file that lies is refused before it takes memory."""

import io
import json
import zipfile

import h5py
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from traces import chunks, direction_of, lstm_chunk

import gateprobe
from gateprobe.trace import Trace
from gateprobe.traces.chunk import TRACE_FORMAT

METADATA = {"format": TRACE_FORMAT, "gateprobe": "0", "options": {"pre_activations": False, "selection": {}}}
ARRAYS = ("npz", "h5")
COLUMNS = ("parquet", "arrow")
TEXTS = ("csv", "tsv")


def odd_numbers(shape, dtype):
    rng = np.random.default_rng(0)
    value = (rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, shape)).astype(dtype)
    value[0, 0, 0], value[0, 0, -1] = np.inf, np.nan
    return value


def traces():
    """Traces of every shape: masks, selections, layers of different kinds, names that files cannot hold."""
    gru = {"update_gate": np.ones((3, 4, 2), np.float32), "hidden_state": odd_numbers((3, 4, 2), np.float32)}
    double = {"hidden_state": odd_numbers((3, 2, 5), np.float64), "pre_candidate": odd_numbers((3, 2, 5), np.float64)}
    back = direction_of("gru", "backward", gru)
    odd = direction_of('a/../=b\\x1b\x1b\u202e,"c', "forward", gru)
    plain = lstm_chunk(3, 6, 5, masked=True)
    yield "masked", Trace(np.arange(3), plain.directions, METADATA)
    yield "mixed", Trace(np.array([0, 4, 5]), (*lstm_chunk(3, 6, 5).directions, back, odd), METADATA)
    yield "double", Trace(np.arange(3), (direction_of("rnn", "forward", double),), METADATA)
    chosen = gateprobe.Selection(units="0,2:4", timesteps="1,3:5")
    yield "part", Trace(np.array([1, 7, 8]), chosen.apply(plain).directions, METADATA)


CASES = [pytest.param(trace, id=name) for name, trace in traces()]


def assert_same(found, trace, *, index=True):
    assert found.samples.tolist() == trace.samples.tolist()
    for ours, theirs in zip(trace.directions, found.directions, strict=True):
        assert (theirs.layer, theirs.direction) == (ours.layer, ours.direction)
        assert list(theirs) == list(ours)
        for name in ours:
            assert theirs[name].dtype == ours[name].dtype
            np.testing.assert_array_equal(theirs[name], ours[name])
        np.testing.assert_array_equal(theirs.timesteps, ours.timesteps)
        np.testing.assert_array_equal(theirs.units, ours.units)
        np.testing.assert_array_equal(theirs.steps, ours.steps)
        if index:
            assert (theirs.backwards, theirs.length) == (ours.backwards, ours.length)
        assert (theirs.mask is None) == (ours.mask is None)
        if ours.mask is not None:
            np.testing.assert_array_equal(theirs.mask, ours.mask)


@pytest.mark.parametrize("trace", CASES)
@pytest.mark.parametrize(
    ("suffix", "compress"),
    [*((suffix, False) for suffix in (*ARRAYS, *COLUMNS, *TEXTS)), *((suffix, True) for suffix in ARRAYS)],
)
def test_what_was_saved_is_loaded(trace, suffix, compress, tmp_path):
    file = tmp_path / f"t.{suffix}"
    trace.save(file, compress=compress)
    found = gateprobe.load_trace(file.rename(tmp_path / "any.name"))
    assert_same(found, trace, index=suffix in ARRAYS)
    assert found.metadata == ({} if suffix in TEXTS else METADATA)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks(), st.sampled_from(ARRAYS))
def test_arrays_come_back_whatever_is_in_them(tmp_path, chunk, suffix):
    trace = Trace(chunk.samples, chunk.directions, METADATA)
    trace.save(tmp_path / f"t.{suffix}", overwrite=True)
    assert_same(gateprobe.load_trace(tmp_path / f"t.{suffix}"), trace)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=20),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from(TEXTS),
)
def test_numbers_of_text_are_those_that_were_written(tmp_path, numbers, dtype, suffix):
    value = np.array(numbers, dtype).reshape(1, 1, -1)
    if dtype is np.float64:
        value = np.append(value, [[[1 / 3]]], axis=2)  # which no float32 is
    trace = Trace(np.arange(1), (direction_of("rnn", "forward", {"hidden_state": value}),), METADATA)
    trace.save(tmp_path / f"t.{suffix}", overwrite=True)
    assert_same(gateprobe.load_trace(tmp_path / f"t.{suffix}"), trace)


def test_a_trace_of_a_real_model_comes_back_whole(tmp_path):
    from test_interface import SAMPLES, TOKENS

    trace = gateprobe.read(SAMPLES / "tokens.keras").trace(np.load(TOKENS))
    for suffix in (*ARRAYS, *COLUMNS):
        trace.save(tmp_path / f"t.{suffix}")
        found = gateprobe.load_trace(tmp_path / f"t.{suffix}")
        assert_same(found, trace)
        assert found.metadata == trace.metadata


@pytest.fixture
def trace():
    return dict(traces())["masked"]


# files that lie


def refused(file, message, **options):
    with pytest.raises(gateprobe.ReadError, match=message) as caught:
        gateprobe.load_trace(file, **options)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def rewritten(file, change):
    """Write an NPZ file again, after a change of its members."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def npy(value):
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=True)
    return buffer.getvalue()


KEY = "lstm/forward/forget_gate.npy"


def described(**changes):
    """Return a change of what the metadata say; keys of the direction, of the index, or of all."""

    def change(members):
        name = "__metadata__.npy"
        found = json.loads(str(np.load(io.BytesIO(members[name]))))
        for key, value in changes.items():
            place = next(part for part in (found["trace"]["directions"][0], found["trace"], found) if key in part)
            place[key] = value
        members[name] = npy(np.array(json.dumps(found)))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda members: members.pop(KEY), "lstm/forward/forget_gate: is missing"),
        (lambda members: members.pop("__metadata__.npy"), "holds no metadata of gateprobe"),
        (lambda members: members.update({KEY: npy(np.array([{}], object))}), "pickled Python objects"),
        (lambda members: members.update({KEY: npy(np.zeros((3, 6, 5), np.int32))}), "other arrays than floats"),
        (lambda members: members.update({KEY: npy(np.zeros((3, 5, 5), np.float32))}), "differ in their shapes"),
        (lambda members: members.update({"lstm/mask.npy": npy(np.ones((3, 5), bool))}), "not one of these timesteps"),
        (lambda members: members.update({"__metadata__.npy": npy(np.array("{"))}), "is not JSON"),
        (lambda members: members.update({"__metadata__.npy": npy(np.zeros(3))}), "is not one text"),
        (described(format=TRACE_FORMAT + 1), "install a newer gateprobe"),
        (described(format="1"), "has the format '1'"),
        (described(samples="0:4"), "samples: numbers 4 places of an axis of 3"),
        (described(samples="0:999999999999999999"), "numbers 999999999999999999 places of an axis of 3"),
        (described(timesteps="0:7"), "numbers 7 places of an axis of 6"),
        (described(units="a"), "'a' is no range"),
        (described(units=5), "metadata: units: is not what gateprobe writes there"),
        (described(signals=["x"]), "names signals or directions that no trace has"),
        (described(direction="sideways"), "names signals or directions that no trace has"),
        (described(directions={}), "metadata: directions: is not what gateprobe writes there"),
        (described(key="../../etc"), "is missing"),
    ],
)
def test_an_archive_that_contradicts_itself_is_refused(trace, tmp_path, change, message):
    file = tmp_path / "t.npz"
    trace.save(file)
    rewritten(file, change)
    refused(file, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.attrs.pop("__metadata__"), "holds no metadata of gateprobe"),
        (lambda file: file.pop("lstm/forward/candidate"), "lstm/forward/candidate: is missing"),
        (lambda file: linked(file, h5py.SoftLink("/lstm/forward/cell_state")), "soft link"),
        (lambda file: linked(file, h5py.ExternalLink("/etc/passwd", "/x")), "link to another file"),
    ],
)
def test_an_hdf5_file_that_leads_elsewhere_is_refused(trace, tmp_path, change, message):
    file = tmp_path / "t.h5"
    trace.save(file)
    with h5py.File(file, "r+") as found:
        change(found)
    refused(file, message)


def linked(file, link):
    del file["lstm/forward/candidate"]
    file["lstm/forward/candidate"] = link


@pytest.mark.parametrize("suffix", COLUMNS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop("unit"), "no table of a trace"),
        (lambda table: table.rename({"forget_gate": "x"}), "no table of a trace"),
        (lambda table: table[:-1], "not those that gateprobe writes"),
        (lambda table: table.sort("unit", maintain_order=True), "not those that gateprobe writes"),
        (lambda table: table.with_columns(step=pl.col("step") + pl.col("sample").cast(pl.Int32)), "not those that"),
        (lambda table: table.with_columns(hidden_state=pl.lit("x")), "other values than floats"),
        (lambda table: table.with_columns(cell_state=pl.when(pl.col("unit") > 0).then("cell_state")), "has gaps"),
        (lambda table: table.with_columns(layer=pl.lit(None)), "has rows without sample"),
        (lambda table: table[:0], "has no rows"),
    ],
)
def test_a_table_that_is_no_trace_is_refused(trace, tmp_path, suffix, change, message):
    file = tmp_path / "t"
    table = change(trace.to_polars())
    if suffix == "parquet":
        table.write_parquet(file, metadata={"gateprobe": json.dumps(METADATA)})
    else:
        table.write_ipc(file)
    refused(file, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample,layer\n", "no table of a trace"),
        (
            "sample,layer,direction,timestep,step,unit,masked,forget_gate\n0,a,forward,0,0,0,false\n",
            "a: a layer has no signals",
        ),
        ("sample,layer,direction,timestep,step,unit,masked,forget_gate\n0,a,forward,0,0,0,false,x\n", "damaged"),
        ("sample,layer,direction,timestep,step,unit,masked,forget_gate\n0,a,up,0,0,0,false,1\n", "not those that"),
        (
            "sample,layer,direction,timestep,step,unit,masked,signal,value\n0,a,forward,0,0,0,false,f,1\n",
            "names signals",
        ),
        ("sample,layer,direction,timestep,step,unit,masked,forget_gate\n", "has no rows"),
        ("a,b\n1,2\n", "is no trace that gateprobe can read back"),
        ("", "is no trace that gateprobe can read back"),
    ],
)
def test_a_text_that_is_no_trace_is_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    refused(tmp_path / "t.csv", message)


@pytest.mark.parametrize("suffix", [*ARRAYS, *COLUMNS, *TEXTS])
def test_memory_is_limited_and_damage_is_one_line(trace, tmp_path, suffix):
    file = tmp_path / f"t.{suffix}"
    trace.save(file)
    refused(file, "raise|higher max_bytes", max_bytes=100)
    data = file.read_bytes()
    for length in range(0, len(data) - 1, max(1, len(data) // 40)):
        file.write_bytes(data[:length])
        try:
            found = gateprobe.load_trace(file)
        except gateprobe.GateprobeError as error:
            assert "\n" not in str(error)  # noqa: PT017 - which of them it is depends on the place
        else:  # a text that ends with a row is a whole one
            assert suffix in TEXTS
            assert len(found.samples) <= len(trace.samples)


def test_what_is_no_file_is_refused(tmp_path):
    refused(tmp_path, "is a folder")
    refused(tmp_path / "x", "No such file")
    with pytest.raises(gateprobe.ReadError, match="is a URL; copy"):
        gateprobe.load_trace("s3://bucket/t.npz")
    with pytest.raises(gateprobe.ReadError, match="not a possible file name"):
        gateprobe.load_trace("a\0b")
