"""Traces read back: what was written comes back, and a file that lies is refused before it takes memory."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from traces import chunks, direction_of, lstm_chunk

import gateprobe
from gateprobe.cli import main
from gateprobe.trace import Trace
from gateprobe.trace_files.load import open_trace
from gateprobe.traces.chunk import TRACE_FORMAT, joined

SAMPLES = Path(__file__).parents[1] / "sample_models"

METADATA = {"format": TRACE_FORMAT, "gateprobe": "0", "options": {"pre_activations": False, "selection": {}}}
ARRAYS = ("npz", "h5")
COLUMNS = ("parquet", "arrow")
TEXTS = ("csv", "tsv", "jsonl")
LAYOUTS = ("tidy", "long", "wide")


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


def mask_of(part):
    return np.ones(next(iter(part.values())).shape[:2], bool) if part.mask is None else part.mask


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
        if index:
            assert (theirs.mask is None) == (ours.mask is None)
        np.testing.assert_array_equal(mask_of(theirs), mask_of(ours))


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


@settings(max_examples=30)
@given(chunks(), st.sampled_from(ARRAYS))
def test_arrays_come_back_whatever_is_in_them(tmp_path, chunk, suffix):
    trace = Trace(chunk.samples, chunk.directions, METADATA)
    trace.save(tmp_path / f"t.{suffix}", overwrite=True)
    assert_same(gateprobe.load_trace(tmp_path / f"t.{suffix}"), trace)


@settings(max_examples=30)
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


@pytest.mark.parametrize("trace", CASES)
@pytest.mark.parametrize("layout", LAYOUTS[1:])
@pytest.mark.parametrize("suffix", [*COLUMNS, *TEXTS])
def test_every_layout_is_loaded(trace, layout, suffix, tmp_path):
    trace.save(tmp_path / f"t.{suffix}", layout=layout)
    found = gateprobe.load_trace((tmp_path / f"t.{suffix}").rename(tmp_path / "any.name"))
    assert_same(found, trace, index=False)
    assert found.metadata == ({} if suffix in TEXTS else METADATA)


def small_pieces(monkeypatch, size):
    """Let pieces be as small as a row, or as large as some samples."""
    monkeypatch.setattr("gateprobe.trace_files.pieces.PIECE_CELLS", size)
    monkeypatch.setattr("gateprobe.trace_files.pieces.PIECE_BYTES", 8 * size)
    monkeypatch.setattr("gateprobe.trace_files.arrays.CHUNK_BYTES", size)


@settings(max_examples=40)
@given(
    chunks(), st.sampled_from([*ARRAYS, *COLUMNS, *TEXTS]), st.sampled_from(LAYOUTS), st.sampled_from([1, 200, 2000])
)
def test_a_trace_is_the_same_chunk_by_chunk(tmp_path, chunk, suffix, layout, size):
    """Also where a chunk has masked timesteps only, so that its gates are as empty as those of another layer."""
    assume(all(part.mask is None or part.mask.any() for part in chunk.directions))
    file = tmp_path / f"t.{suffix}"
    layouts = {} if suffix in ARRAYS else {"layout": layout}
    Trace(chunk.samples, chunk.directions, METADATA).save(file, overwrite=True, **layouts)
    with pytest.MonkeyPatch.context() as patched:
        small_pieces(patched, size)
        opened = open_trace(str(file))
        passes = [list(opened.begin()) for _ in range(2)]
    for parts in passes:
        assert len(parts) == len(chunk.samples) or size > 1
        whole = joined(parts)
        assert_same(Trace(whole.samples, whole.directions), Trace(chunk.samples, chunk.directions), index=False)
    assert opened.samples.tolist() == chunk.samples.tolist()
    for outline, part in zip(opened.directions, chunk.directions, strict=True):
        assert {name: (value.shape[1:], value.dtype) for name, value in outline.items()} == {
            name: (value.shape[1:], value.dtype) for name, value in part.items()
        }


@pytest.fixture
def folders(tmp_path):
    """Return a function that dumps a model into a folder, as three parts of two samples and one of one."""
    rng = np.random.default_rng(1)
    np.save(tmp_path / "x.npy", rng.integers(0, 10, (7, 8)).astype(np.int32))

    def dump(name, *options):
        arguments = ["dump", str(SAMPLES / "tokens.keras"), str(tmp_path / "x.npy"), "-o", f"{tmp_path}/{name}"]
        done = CliRunner().invoke(main, [*arguments, "--batch-size", "2", *options], prog_name="gateprobe")
        assert (done.exit_code, done.output) == (0, "")
        return tmp_path / name.rstrip("/")

    return dump


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_parts_is_loaded(folders, layout):
    whole = gateprobe.load_trace(folders("t.npz"))
    folder = folders("t/", "--layout", layout, "--block-size", "2")
    assert len(list(folder.glob("*.parquet"))) == 4
    found = gateprobe.load_trace(folder)
    assert_same(found, whole)
    assert found.metadata == whole.metadata
    assert max(len(chunk.samples) for chunk in open_trace(str(folder)).begin()) == 2


@pytest.mark.parametrize("compress", [(), ("--compress",)])
def test_a_zarr_store_is_loaded(folders, compress, monkeypatch):
    whole = gateprobe.load_trace(folders("t.npz", "--with-input"))
    store = folders("t.zarr", "--block-size", "2", "--with-input", *compress)
    found = gateprobe.load_trace(store)
    assert_same(found, whole)
    np.testing.assert_array_equal(
        found["bidirectional"].forward.context["input.tokens"], np.load(store.parent / "x.npy")
    )
    assert found.metadata == whole.metadata
    monkeypatch.setattr("gateprobe.trace_files.arrays.CHUNK_BYTES", 1)
    assert_same(Trace(whole.samples, joined(open_trace(str(store)).begin()).directions), whole)


def without(file):
    (file,) = file if isinstance(file, list) else [file]
    file.unlink()


def swapped(one, other):
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: without(folder / "_SUCCESS"), "is not complete; run the command"),
        (lambda folder: without(folder / "part-000000000002.parquet"), "lacks the part .* position 2"),
        (lambda folder: without(folder / "part-000000000006.parquet"), "lacks the part .* position 6"),
        (lambda folder: swapped(*sorted(folder.glob("*.parquet"))[:2]), "lacks the part .* position 0"),
        (lambda folder: (folder / "_gateprobe.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "_gateprobe.json").write_text("[]"), "is not what gateprobe writes"),
        (lambda folder: edited(folder / "_gateprobe.json", '"batch": 2', '"batch": 1'), "not a part of this run"),
    ],
)
def test_a_folder_that_lacks_something_is_refused(folders, change, message):
    folder = folders("t/", "--block-size", "2")
    change(folder)
    refused(folder, message)


def edited(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def elsewhere(file):
    edited(file, '"gateprobe.seal"', '"no.seal"')
    edited(file, GATE.rpartition("/")[0], "../../etc")


GATE = "bidirectional/forward/forget_gate"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda store: edited(store / "zarr.json", '"complete": true', '"complete": false'), "is not complete"),
        (lambda store: without(store / "__finished__/c/0/0"), "is not complete"),
        (lambda store: without(store / GATE / "c/1/0/0"), "lacks numbers of the samples from position 2 to 3"),
        (
            lambda store: without(store / "bidirectional/mask/c/0/0"),
            "lacks numbers of the samples from position 0 to 1",
        ),
        (lambda store: without(store / GATE / "zarr.json"), "is missing"),
        (lambda store: edited(store / GATE / "zarr.json", '"bytes"', '"numcodecs.pickle"'), "names a codec"),
        (lambda store: edited(store / GATE / "zarr.json", '"float32"', '"string"'), "not described as gateprobe"),
        (lambda store: (store / GATE / "c/0/0/0").write_bytes(b"x"), "is damaged"),
        (lambda store: elsewhere(store / "zarr.json"), "is missing"),
        (lambda store: edited(store / "zarr.json", '"0:4"', '"1:5"'), "metadata: is damaged or was changed"),
        (lambda store: edited(store / "zarr.json", '"manifest"', '"manifesto"'), "a Zarr store of others"),
    ],
)
def test_a_zarr_store_that_lies_is_refused(folders, change, message):
    store = folders("t.zarr", "--block-size", "2")
    change(store)
    refused(store, message)


@pytest.mark.parametrize(
    "name", ["t.npz", "t.h5", "t.parquet", "t.csv", "t.jsonl", "t/", "t.zarr", "t.arrow long", "t.tsv wide"]
)
def test_a_unit_keeps_its_number(folders, name):
    """A wrong number of a unit would be a wrong number."""
    name, *layout = name.split()
    options = [f"--layout={text}" for text in layout]
    chosen = ["--unit", "3,1", "--timestep", "2:5", "--sample", "1,4:6"]
    found = gateprobe.load_trace(folders(name, *chosen, *options))
    whole = gateprobe.read(SAMPLES / "tokens.keras").trace(np.load(folders("all.npz").parent / "x.npy"))
    assert found.samples.tolist() == [1, 4, 5]
    for part, every in zip(found.directions, whole.directions, strict=True):
        assert (part.units.tolist(), part.timesteps.tolist()) == ([1, 3], [2, 3, 4])
        np.testing.assert_array_equal(part.steps, every.steps[2:5])
        for name in every:
            np.testing.assert_array_equal(part[name], every[name][[1, 4, 5], 2:5][..., [1, 3]])


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
        del found.attrs["gateprobe.seal"]
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


@pytest.mark.parametrize("suffix", [*COLUMNS, *TEXTS])
def test_the_limit_is_of_the_arrays_and_of_each_sample(tmp_path, suffix):
    model = gateprobe.read(SAMPLES / "brackets.keras")
    trace = model.trace(np.repeat(np.load(SAMPLES / "brackets.npy"), 40, axis=0))
    file = tmp_path / f"t.{suffix}"
    trace.save(file)
    size = sum(array.nbytes for array in trace.to_numpy().values()) * (2 if suffix in TEXTS else 1)  # read as float64
    assert len(gateprobe.load_trace(file, max_bytes=size).samples) == 120
    with pytest.raises(gateprobe.UnsafeFile, match=f"the trace needs more than the {size - 1:,} bytes of the limit"):
        gateprobe.load_trace(file, max_bytes=size - 1)
    assert sum(len(chunk.samples) for chunk in open_trace(str(file), size // 8).begin()) == 120
    with pytest.raises(gateprobe.UnsafeFile, match="sample 119 needs more than the 1,000 bytes of the limit"):
        open_trace(str(file), 1000)


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
    refused(tmp_path / "x", "there is no such file")
    with pytest.raises(gateprobe.ReadError, match="is a URL; copy"):
        gateprobe.load_trace("s3://bucket/t.npz")
    with pytest.raises(gateprobe.ReadError, match="not a possible file name"):
        gateprobe.load_trace("a\0b")


def damaged(data, rng):
    """Return a file after one change: a bit, a byte, or up to 30 bytes taken out, doubled or replaced."""
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 30))
    before, piece, after = data[:at], data[at : at + length], data[at + length :]
    changes = (
        [bytes([data[at] ^ 1 << int(rng.integers(8))]), data[at + 1 :]],
        [bytes([rng.choice([0, 1, 127, 128, 255])]), data[at + 1 :]],
        [after],
        [piece, piece, after],
        [rng.bytes(len(piece)), after],
    )
    return b"".join([before, *changes[int(rng.integers(len(changes)))]])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", [*ARRAYS, *COLUMNS, *TEXTS])
def test_a_damaged_file_is_refused_in_one_line_or_is_a_whole_trace(trace, tmp_path, suffix, layout):
    if suffix in ARRAYS and layout != "tidy":
        return  # arrays have no layout
    file, rng = tmp_path / f"t.{suffix}", np.random.default_rng(len(suffix + layout))
    trace.save(file, **({} if suffix in ARRAYS else {"layout": layout}))
    data, refusals = file.read_bytes(), 0
    for _ in range(25):
        file.write_bytes(damaged(data, rng))
        try:
            found = gateprobe.load_trace(file)
        except gateprobe.GateprobeError as error:
            assert "\n" not in str(error)  # noqa: PT017 - which of them it is depends on the place
            refusals += 1
            continue
        for part in found.directions:
            assert {value.shape[:2] for value in part.values()} == {(len(found.samples), len(part.timesteps))}
            assert part.mask is None or part.mask.shape[:2] == (len(found.samples), len(part.timesteps))
        if suffix == "npz":  # its checksums show every other number
            assert_same(found, trace)
    assert refusals
