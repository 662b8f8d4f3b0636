"""Inputs: what is accepted, what is refused and with which words."""

import hashlib
import io
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gateprobe.errors import InputError
from gateprobe.inputs.samples import InputSpec, from_arrays, load

SERIES = InputSpec("x", (None, 5, 3))
FREE = InputSpec("x", (None, None, None))
TOKENS = InputSpec("ids", (None, None), "int32")
SCALAR_SERIES = InputSpec("x", (None, None, 1))
PAIR = (InputSpec("left", (None, 2)), InputSpec("right", (None, None, 1)))

quick = settings(max_examples=60)


def saved(folder, array, name="x.npy"):
    np.save(folder / name, array)
    return str(folder / name)


def all_rows(samples):
    return samples.block(np.arange(samples.count))[0]


# .npy


@quick
@given(
    array=hnp.arrays(st.sampled_from(["<f4", ">f4", "<f8", ">f8", "<f2", "|i1", ">i8", "<u4", "|b1"]), (3, 5, 3)),
    fortran=st.booleans(),
    version=st.sampled_from([(1, 0), (2, 0), (3, 0)]),
)
def test_every_npy_of_numbers_reads_as_numpy_reads_it(tmp_path, array, fortran, version):
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.asfortranarray(array) if fortran else array, version=version)
    samples = load([str(path)], [SERIES])
    assert isinstance(samples.arrays[0], np.memmap)
    (got,) = samples.block(np.array([2, 0, 0]))[0]
    np.testing.assert_array_equal(got, np.load(path)[[2, 0, 0]])
    assert got.dtype.isnative
    assert got.flags.c_contiguous


def test_rows_of_a_mapped_file_are_copied_and_rows_in_memory_are_not(tmp_path):
    """A file that is cut while another thread computes on a view of it would end the program by a bus error."""
    array = np.zeros((9, 5, 3), np.float32)
    (mapped,) = load([saved(tmp_path, array)], [SERIES]).block(np.arange(4, 8))[0]
    (held,) = from_arrays(array, [SERIES]).block(np.arange(4, 8))[0]
    assert mapped.flags.owndata
    assert np.shares_memory(held, array)


def header(text, version=1):
    data = text.encode("latin-1")
    size = struct.pack("<H" if version == 1 else "<I", len(data))
    return b"\x93NUMPY" + bytes([version, 0]) + size + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 5, 3), }"
NUMBERS = bytes(2 * 5 * 3 * 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(GOOD) + NUMBERS[:-1], r"ends early: shape \(2, 5, 3\) needs 120 bytes, there are 119"),
        (header(GOOD) + NUMBERS + b"x", "has 1 bytes behind its array"),
        (header(GOOD)[:30], "ends within its header"),
        (header("(" * 9000), "does not say descr"),
        (header("(" * 70000, 2), "has a header of 70000 bytes"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "has a header of 4294967295 bytes"),
        (b"\x93NUMPY\x09\x00\x00\x00", "unknown .npy version 9.0"),
        (header(GOOD.replace("<f4", "|O")), "holds pickled Python objects, which are never loaded"),
        (header(GOOD.replace("<f4", "<M8[s]")), r"holds values of type '<M8\[s\]'"),
        (header(GOOD.replace("<f4", "<c8")), "holds values of type '<c8'"),
        (header(GOOD.replace("<f4", "|V2")), "holds values of type '|V2'"),
        (header(GOOD.replace("'<f4'", "[('a', '<f4')]")), "holds records, not numbers"),
        (header(GOOD.replace("'<f4'", "__import__('os')")), "holds records, not numbers"),
        (header(GOOD.replace(", }", ", 'more': 1}")), "says more than type, order and shape"),
        (header(GOOD.replace("(2, 5, 3)", "(-2, 5, 3)")), "does not say shape"),
        (header(GOOD.replace("(2, 5, 3)", f"(2, {'1' * 70})")), "shape is not a tuple of sizes"),
        (header(GOOD.replace("(2, 5, 3)", "(2 5, 3)")), "shape is not a tuple of sizes"),
        (header(GOOD.replace("(2, 5, 3)", f"({10**17}, {10**17}, 3)")), "ends early"),
    ],
)
def test_a_damaged_or_hostile_npy_is_refused(tmp_path, data, message):
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(InputError, match=rf"x\.npy: .*{message}"):
        load([str(tmp_path / "x.npy")], [SERIES])


# shapes


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5, 7), r"has the shape \(2, 5, 7\), but input 'x' takes \(samples, 5, 3\)"),
        ((2, 9, 3), r"has the shape \(2, 9, 3\), but input 'x' takes \(samples, 5, 3\)"),
        ((1, 2, 5, 3), r"has the shape \(1, 2, 5, 3\), but input 'x' takes"),
        ((5, 3), r"\(5, 3\), but .* takes \(samples, 5, 3\); for a single sample put an axis in front"),
        ((), "holds a single number"),
        ((0, 5, 3), r"has no samples: shape \(0, 5, 3\)"),
        ((2, 0, 3), r"has an axis without values: shape \(2, 0, 3\)"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_with_both_shapes(tmp_path, shape, message):
    with pytest.raises(InputError, match=message):
        load([saved(tmp_path, np.zeros(shape))], [SERIES])
    with pytest.raises(InputError, match=message):
        from_arrays(np.zeros(shape), [SERIES])


@pytest.mark.parametrize(
    ("shape", "taken", "how"),
    [
        ((20, 30), (None, 30, 1), r"x[..., numpy.newaxis]"),
        ((20, 30), (None, None, 1), r"x[..., numpy.newaxis]"),
        ((30, 2), (None, 30, 2), r"x[numpy.newaxis]"),
        ((30,), (None, 30, 1), r"x[numpy.newaxis, ..., numpy.newaxis]"),
        ((30,), (None, 1), r"x[..., numpy.newaxis]"),
        ((20, 30), (None, 31, 1), None),
        ((20, 30, 1), (None, 30), None),
    ],
)
def test_the_remedy_makes_the_shape_that_the_model_takes(shape, taken, how):
    spec = InputSpec("x", taken)
    with pytest.raises(InputError) as refused:
        from_arrays(np.zeros(shape), [spec])
    remedy = refused.value.remedy
    if how is None:
        assert remedy is None
    else:
        assert remedy.endswith(how)
        assert from_arrays(eval(how, {"x": np.zeros(shape), "numpy": np}), [spec]).count


def test_a_series_in_a_column_is_told_to_stand_in_a_line(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("0.5\n" * 30)
    with pytest.raises(InputError, match=r"\(30, 1, 1\), .*; write one sample per line: its 30 values side by side"):
        load([str(path)], [InputSpec("x", (None, 30, 1))])
    path.write_text(",".join(["0.5"] * 30))
    assert load([str(path)], [InputSpec("x", (None, 30, 1))]).count == 1


@pytest.mark.parametrize("text", ["hello", "Hello, you\nthere we go", "one\ntwo\n", "word\tword"])
def test_text_is_told_to_be_token_ids(tmp_path, text):
    path = tmp_path / "x.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"x\.txt: holds text where numbers are wanted; give token ids"):
        load([str(path)], [InputSpec("x", (None, None), "int32")])
    with pytest.raises(InputError, match=r"x\.txt: holds text where numbers are wanted; give numbers"):
        load([str(path)], [InputSpec("x", (None, None, 2))])


def test_the_model_may_leave_axes_open():
    assert from_arrays(np.zeros((2, 9, 4)), [FREE]).count == 2
    assert from_arrays(np.zeros((2, 9)), [InputSpec("x", None)]).count == 2
    with pytest.raises(InputError, match=r"takes \(samples, timesteps, any\)"):
        from_arrays(np.zeros((2, 9)), [FREE])


# names and order


def test_files_come_in_the_models_order_or_by_name(tmp_path):
    left = saved(tmp_path, np.full((3, 2), 1.0), "l.npy")
    right = saved(tmp_path, np.full((3, 4, 1), 2.0), "r.npy")
    for specs in ([left, right], [f"right={right}", left], [f"right={right}", f"left={left}"]):
        samples = load(specs, PAIR)
        assert [array.flat[0] for array in all_rows(samples)] == [1, 2]
    assert samples.names == ("left", "right")


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["{l}"], r"an input is missing; give right \(samples, timesteps, 1\) as FILE or NAME=FILE"),
        (["{l}", ""], "the name of a file is empty"),
        (["{l}", "{r}", "{r}"], r"r\.npy: is one file too many: the model takes left \(samples, 2\), right"),
        (["{l}", "middle={r}"], r"the model has no input 'middle'; available: left, right"),
        (["left={l}", "left={l}"], r"input 'left' is given twice"),
        (["{l}", "{s}"], r"differ in their number of samples: .*l\.npy has 3, .*s\.npy has 2"),
        (["-", "-"], "standard input can be read only once"),
        (["{l}", "nope.npy"], r"nope\.npy: there is no such file"),
        (["{l}", "{folder}"], "is a folder; name a file in it"),
    ],
)
def test_wrong_names_and_numbers_of_files_are_refused(tmp_path, specs, message):
    files = {
        "l": saved(tmp_path, np.zeros((3, 2)), "l.npy"),
        "r": saved(tmp_path, np.zeros((3, 4, 1)), "r.npy"),
        "s": saved(tmp_path, np.zeros((2, 4, 1)), "s.npy"),
        "folder": str(tmp_path),
    }
    with pytest.raises(InputError, match=message):
        load([spec.format(**files) for spec in specs], PAIR)


def test_a_file_name_may_hold_an_equals_sign_and_brackets(tmp_path):
    for name in ("a=b.npy", "x[1].npy"):
        assert load([saved(tmp_path, np.zeros((2, 5, 3)), name)], [SERIES]).count == 2


# .npz


def test_an_npz_gives_one_array_a_named_one_or_all_inputs(tmp_path):
    path = str(tmp_path / "x.npz")
    np.savez(path, only=np.zeros((2, 5, 3)))
    assert load([path], [SERIES]).count == 2
    np.savez_compressed(path, a=np.zeros((2, 5, 3)), b=np.ones((4, 5, 3)), __metadata__=np.array("text"))
    assert load([f"{path}[b]"], [SERIES]).count == 4
    with pytest.raises(InputError, match=r"x\.npz: holds 2 arrays: a, b; choose one: .*x\.npz\[a\]"):
        load([path], [SERIES])
    with pytest.raises(InputError, match=r"has no array 'c'; available: a, b"):
        load([f"{path}[c]"], [SERIES])
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as other:
        other.writestr("a.txt", "1")
    with pytest.raises(InputError, match=r"y\.npz: is a zip archive without an \.npy file"):
        load([str(tmp_path / "y.npz")], [SERIES])
    np.savez(path, right=np.zeros((3, 4, 1)), left=np.zeros((3, 2)))
    assert [array.shape for array in all_rows(load([path], PAIR))] == [(3, 2), (3, 4, 1)]


def test_an_npz_that_is_a_bomb_or_damaged_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.zeros((200, 5, 3)))
    with pytest.raises(InputError, match=r"x\.npz\[x\]: unpacks to 24128 bytes; the limit is 1000; raise it with"):
        load([str(path)], [SERIES], max_bytes=1000)
    data = bytearray(path.read_bytes())
    data[60:70] = bytes(10)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"is not a readable \.npz file"):
        load([str(path)], [SERIES])


def test_an_npz_member_that_lies_about_its_size_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header(GOOD.replace("(2, 5, 3)", f"({10**12}, 5, 3)")) + NUMBERS)
    with pytest.raises(InputError, match="ends early: shape"):
        load([str(path)], [SERIES])


def test_nothing_is_unpickled(tmp_path):
    class Canary:
        def __reduce__(self):
            return (open, (str(tmp_path / "bitten"), "w"))

    np.savez(tmp_path / "x.npz", x=np.array([Canary()], dtype=object))
    (tmp_path / "x.npy").write_bytes(header(GOOD.replace("<f4", "|O")) + pickle.dumps(Canary()))
    for name in ("x.npz", "x.npy"):
        with pytest.raises(InputError, match="pickled Python objects, which are never loaded"):
            load([str(tmp_path / name)], [SERIES])
    assert not (tmp_path / "bitten").exists()


# tables


def table(folder, text, spec, name="x.csv"):
    (folder / name).write_text(text)
    return all_rows(load([str(folder / name)], [spec]))[0]


def test_a_table_of_tokens_has_a_row_for_each_sample(tmp_path):
    got = table(tmp_path, "1,2,3\n4,5,6\n", TOKENS)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(table(tmp_path, "\ufeffa,b,c\r\n1, 2,3\r\n", TOKENS), [[1, 2, 3]])
    np.testing.assert_array_equal(table(tmp_path, "1\t2\n3\t4", TOKENS, "x.tsv"), [[1, 2], [3, 4]])


def test_a_single_feature_has_a_row_for_each_sample(tmp_path):
    got = table(tmp_path, "0.1,NaN\n-inf,1e-45\n", SCALAR_SERIES)
    np.testing.assert_array_equal(got, np.array([[0.1, np.nan], [-np.inf, 1e-45]])[:, :, None])


def test_several_features_have_a_row_for_each_timestep_in_any_order(tmp_path):
    rows = ["sample,timestep,a,b,c"] + [f"{s},{t},{s},{t},{10 * s + t}" for t in (3, 0, 4, 1, 2) for s in (1, 0)]
    got = table(tmp_path, "\n".join(rows), SERIES)
    np.testing.assert_array_equal(got[1, 3], [1, 3, 13])
    assert got.shape == (2, 5, 3)
    np.testing.assert_array_equal(table(tmp_path, "sample,timestep,id\n0,0,7\n0,1,8\n", TOKENS), [[7, 8]])


@quick
@given(array=hnp.arrays(np.float64, (2, 3), elements=st.floats(allow_nan=False)))
def test_numbers_in_a_table_are_read_exactly(tmp_path, array):
    text = "\n".join(",".join(map(repr, row)) for row in array.tolist())
    np.testing.assert_array_equal(table(tmp_path, text, TOKENS), array)


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        ("1,2,3\n4,5,6\n", FREE, "a row for each sample cannot hold this input; name columns sample,timestep"),
        ("1,2\n3\n", TOKENS, "line 2, column 2: a value is missing"),
        ("1,2\n3,4,5\n", TOKENS, "is not a table"),
        ("1,x\n3,4\n", TOKENS, "line 1, column 2: 'x' is not a number"),
        ("a,b\n3,4\n5,x\n", TOKENS, "line 3, column 2: 'x' is not a number"),
        ("1;2\n3\n", TOKENS, "line 2, column 2: a value is missing"),
        (",a\n0,4\n", TOKENS, "column 1 has no name; save the table without its row numbers"),
        ("a,b\n", TOKENS, "has a header and no rows"),
        (" \n", TOKENS, "is empty"),
        ("x^2,y\n", TOKENS, "has a header and no rows"),
        ("sample,b\n0,1\n", TOKENS, "the header must name 'timestep' once"),
        ("sample,timestep,a,b,c\n0,0,1,1,1\n0,2,1,1,1\n", SERIES, "has 2 rows for 1 samples of 3 timesteps"),
        (
            "sample,timestep,a,b,c\n0,0,1,1,1\n1,1,1,1,1\n1,1,1,1,1\n0,1,1,1,1\n",
            SERIES,
            "sample 1, timestep 0 stands nowhere",
        ),
        ("sample,timestep,a\n0,0,1\n0,0,1\n1,0,1\n1,1,1\n", TOKENS, "sample 0, timestep 0 stands twice"),
        ("sample,timestep,a\n0.5,0,1\n", TOKENS, "column 'sample' must count 0, 1, 2"),
        ("sample,timestep\n0,0\n", TOKENS, "has 1 rows for 1 samples of 1 timesteps"),
        ("sample,timestep,a,b\n0,0,1,1\n", SERIES, r"has the shape \(1, 1, 2\), but input 'x' takes"),
        ("1,\0\n", TOKENS, "neither an .npy file nor text"),
    ],
)
def test_a_table_that_could_mean_several_things_is_refused(tmp_path, text, spec, message):
    with pytest.raises(InputError, match=message):
        table(tmp_path, text, spec)


def test_only_text_files_are_read_as_tables(tmp_path):
    (tmp_path / "x.dat").write_text("1,2\n")
    message = r"x\.dat: is no \.npy, \.npz, Parquet or Arrow file; a text table needs the suffix"
    with pytest.raises(InputError, match=message):
        load([str(tmp_path / "x.dat")], [TOKENS])
    (tmp_path / "x.csv").write_text("1,2\n")
    with pytest.raises(InputError, match=r"has more than 3 bytes; raise the limit with max_bytes"):
        load([str(tmp_path / "x.csv")], [TOKENS], max_bytes=3)


# pipes


@pytest.mark.parametrize("form", ["npy", "csv"])
def test_standard_input_is_npy_or_a_table(monkeypatch, form):
    array, data = np.array([[1, 2], [3, 4]]), io.BytesIO()
    if form == "npy":
        np.save(data, array)
    else:
        np.savetxt(data, array, delimiter=",", fmt="%d")
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": io.BytesIO(data.getvalue())}))
    samples = load(["-"], [TOKENS])
    np.testing.assert_array_equal(all_rows(samples)[0], array)
    assert samples.digests == {"ids": hashlib.sha256(data.getvalue()).hexdigest()}


# feeds


def test_feeds_make_inputs_unnecessary(tmp_path):
    feed = saved(tmp_path, np.ones((2, 5, 3)), "h.npy")
    mask = saved(tmp_path, np.array([[1, 1, 0], [1, 0, 0]]), "m.npy")
    samples = load([], [SERIES], [f"enc/lstm={feed}", f"enc/lstm.mask={mask}"])
    arrays, feeds = samples.block(np.array([1]))
    assert arrays == (None,)
    assert feeds["enc/lstm"].shape == (1, 5, 3)
    assert feeds["enc/lstm.mask"].dtype == np.bool_
    with pytest.raises(InputError, match="expected LAYER=FILE"):
        load([], [SERIES], ["lstm"])
    np.save(feed, np.full((2, 5), 2))
    with pytest.raises(InputError, match=r"h\.npy: a mask holds 0 and 1 only"):
        load([], [SERIES], [f"lstm.mask={feed}"])


# from Python


def test_arrays_come_alone_in_a_list_or_by_name():
    one, two = np.zeros((3, 2)), np.ones((3, 4, 1))
    for x in ([one, two], (one, two), {"right": two, "left": one}):
        assert all_rows(from_arrays(x, PAIR))[1].shape == (3, 4, 1)
    assert from_arrays([[[1.0] * 3] * 5], [SERIES]).count == 1
    assert from_arrays([np.zeros((7, 5, 3))], [SERIES]).count == 7
    assert from_arrays([np.zeros((5, 3)), np.zeros((5, 3))], [SERIES]).count == 2


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 2)), "the model takes 2 inputs; give left"),
        ({"left": np.zeros((3, 2)), "x": 1}, "the model has no input 'x'"),
        ([np.zeros((3, 2)), np.array([["a"]])], "holds texts, but input 'right' takes numbers"),
        ([np.zeros((3, 2), complex), np.zeros((3, 4, 1))], "input 'left' holds complex128"),
        ([[[1, 2], [3]], np.zeros((2, 4, 1))], "input 'left' is not an array"),
    ],
)
def test_arrays_that_are_none_are_refused(x, message):
    with pytest.raises(InputError, match=message):
        from_arrays(x, PAIR)


def test_a_digest_is_that_of_the_npy_file(tmp_path):
    array = np.arange(30, dtype=np.float32).reshape(2, 5, 3)
    digest = hashlib.sha256(Path(saved(tmp_path, array)).read_bytes()).hexdigest()
    assert from_arrays(array, [SERIES]).digests == load([str(tmp_path / "x.npy")], [SERIES]).digests == {"x": digest}


def test_the_first_nan_is_found():
    array = np.zeros((9, 5, 3), np.float32)
    assert from_arrays(array, [SERIES]).first_nan() is None
    array[6, 2, 1] = np.nan
    assert from_arrays(array, [SERIES]).first_nan() == ("x", 6)
