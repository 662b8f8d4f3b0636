"""The page of a report, as far as it can be seen without a browser; test_report_browser.py looks at it in one."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from report_pages import Page, digest, masked, signals, tokens
from traces import chunks, direction_of, lstm_chunk

import gateprobe
from gateprobe.cli import main
from gateprobe.errors import GateprobeWarning, InputError, OutputError, printable
from gateprobe.inputs.tokens import ListedTokens
from gateprobe.inputs.verdicts import read_verdict
from gateprobe.observed import Observed, of_chunk
from gateprobe.pictures.report.excerpt import Cut, cut_of, excerpt_of
from gateprobe.pictures.report.page import page_of
from gateprobe.traces.chunk import TraceChunk
from gateprobe.traces.selection import Selection

SAMPLES = Path(__file__).parents[1] / "sample_models"
EVIL = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "]]>\u2028&amp;\"'`",
    "<!--",
    "\ud800\u202e",
]
TEXTS = [list("((a)(a(a)))a"), list("(((((())))))"), list("a(a)a(a)a(a)")]


@pytest.fixture(scope="module")
def brackets():
    return gateprobe.read(SAMPLES / "brackets.keras").trace(np.load(SAMPLES / "brackets.npy"))


def page(trace_chunk, metadata=None, **options):
    return Page(page_of(of_chunk(trace_chunk, metadata or {}), **options))


def command(*arguments, **options):
    done = CliRunner().invoke(main, ["report", *map(str, arguments)], prog_name="gateprobe", **options)
    assert "Traceback" not in done.output
    return done


# what the file is


def test_the_policy_lets_only_this_script_and_this_style_run_and_nothing_out():
    found = page(lstm_chunk())
    _, script = found.texts["script"]
    (style,) = found.texts["style"]
    assert found.policy == {
        "default-src": ["'none'"],
        "script-src": [digest(script)],
        "style-src": [digest(style)],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    first = [tag for tag in found.tags if tag in ("meta", "style", "script", "title")]
    assert first[:2] == ["meta", "meta"], "the policy stands before what it is about"


def test_nothing_in_the_page_asks_for_anything():
    found = page(lstm_chunk())
    assert found.tags.count("script") == 2
    assert not {"link", "img", "iframe", "object", "embed", "base", "svg"} & set(found.tags)
    for tag, attributes in found.elements:
        for name, value in attributes.items():
            assert name not in ("src", "style", "srcset", "action", "ping"), (tag, name)
            assert not name.startswith("on"), (tag, name)
            assert name != "href" or value.startswith("#"), (tag, value)
    code = found.texts["script"][1] + found.texts["style"][0]
    assert not re.findall(
        r"https?:|//\w|url\(|@import|fetch\(|XMLHttp|innerHTML|outerHTML|insertAdjacent|eval\(|\.write\(", code
    )


def test_every_control_has_a_name():
    found = page(lstm_chunk())
    labelled = {attributes["for"] for tag, attributes in found.elements if tag == "label" and "for" in attributes}
    for tag, attributes in found.elements:
        if tag in ("select", "input") and attributes.get("type") != "checkbox":
            assert attributes["id"] in labelled
    assert not [attributes for _, attributes in found.elements if int(attributes.get("tabindex", 0)) > 0]


def test_every_id_that_the_script_asks_for_is_in_the_page():
    found = page(lstm_chunk())
    there = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(set(there)) == len(there)
    asked = set(re.findall(r"""(?:\$|getElementById)\("([\w-]+)"\)""", found.texts["script"][1]))
    assert len(asked) > 30
    assert asked <= set(there)


# what is in it


@given(chunks())
def test_every_number_comes_back(chunk):
    payload = page(chunk).payload
    assert payload["samples"] == chunk.samples.tolist()
    assert len(payload["parts"]) == len(chunk.directions)
    for part, direction in zip(payload["parts"], chunk.directions, strict=True):
        assert part["layer"] == printable(direction.layer)
        assert (part["direction"], part["backwards"]) == (direction.direction, direction.backwards)
        assert (part["timesteps"], part["units"]) == (direction.timesteps.tolist(), direction.units.tolist())
        found = signals(part)
        assert list(found) == list(direction.signals)
        for name, value in direction.signals.items():
            np.testing.assert_array_equal(found[name].astype(value.dtype), value)
        if direction.mask is None:
            assert part["mask"] is None
        else:
            np.testing.assert_array_equal(masked(part), ~direction.mask)


def test_float64_stays_float64():
    value = np.array([[[0.1, 1e300]]])
    part = direction_of("lstm", "forward", {"hidden_state": value})
    (found,) = page(TraceChunk(np.arange(1), (part,))).payload["parts"]
    assert found["dtype"] == "float64"
    np.testing.assert_array_equal(signals(found)["hidden_state"], value)


def test_half_precision_is_widened():
    value = np.array([[[0.1, -3.0]]], np.float16)
    part = direction_of("lstm", "forward", {"hidden_state": value})
    (found,) = page(TraceChunk(np.arange(1), (part,))).payload["parts"]
    np.testing.assert_array_equal(signals(found)["hidden_state"].astype(np.float16), value)


def test_a_trace_that_begins_later_says_so():
    part = direction_of(
        "lstm", "backward", {"hidden_state": np.zeros((1, 3, 2), "f4")}, timesteps=np.arange(4, 7), length=7
    )
    (found,) = page(TraceChunk(np.arange(1), (part,))).payload["parts"]
    assert found["complete"] == [False, True]
    assert found["timesteps"] == [4, 5, 6]


def test_pixels_with_masks_of_their_own():
    """A ConvLSTM over images of which some pixels are masked: units number pixels and filters, the filters last."""
    mask = np.ones((1, 2, 2, 1), np.bool_)
    mask[0, 1, 0, 0] = False
    shape = (1, 2, 2, 1, 3)  # samples, timesteps, rows, columns, filters
    values = {name: np.ones(shape, np.float32) for name in ("input_gate", "hidden_state")}
    (part,) = page(TraceChunk(np.arange(1), (direction_of("conv", "forward", values, mask),))).payload["parts"]
    assert part["shape"] == [1, 2, 6]
    assert masked(part).tolist() == [[[False] * 6, [True] * 3 + [False] * 3]]


def test_where_it_comes_from(brackets):
    payload = page(TraceChunk(brackets.samples, brackets.directions), brackets.metadata).payload
    facts = dict(payload["about"]["facts"])
    assert payload["about"]["title"] == "brackets.keras"
    assert payload["about"]["tagline"] == "keras3 (Keras 3.15.1) · 3 samples · lstm (LSTM, 2 units)"
    assert facts["sha256"] == [brackets.metadata["model"]["sha256"]]
    assert facts["layers"] == ["lstm (LSTM)"]
    assert facts["semantics"] == [brackets.metadata["semantics"]]
    assert payload["parts"][0]["class"] == "LSTM"
    assert (payload["verdict"], payload["left_out"]) == (None, [])


@pytest.mark.parametrize("metadata", [
    {},
    {"model": 3, "layers": "x", "inputs": [1], "notes": {"a": 1}, "options": 7, "evidence": [None, {}], "era": ["k"]},
    {"layers": [3, {"path": []}, {"class": 5}], "keras_version": {}, "gateprobe": True},
])  # fmt: skip
def test_metadata_of_any_shape(metadata):
    assert page(lstm_chunk(), metadata).payload["about"]["title"] == "trace"


# hostile names


@pytest.mark.parametrize("evil", EVIL)
def test_names_stay_texts(evil):
    plain, metadata = (
        page(lstm_chunk()),
        {"model": {"file": evil}, "notes": [evil], "layers": [{"path": evil, "class": evil}]},
    )
    chunk = lstm_chunk(layer=evil)
    labelled = dict.fromkeys(range(3), (evil,) * 4)
    observed = Observed(
        evil, chunk.samples, lambda progress: iter([chunk]), lambda: metadata, tokens=ListedTokens("t", "", labelled)
    )
    found = Page(page_of(observed))
    assert found.tags == plain.tags
    assert found.texts["script"][1] == plain.texts["script"][1]
    data = found.texts["script"][0]
    assert data.isascii()
    assert not set("<>&") & set(data)
    payload = found.payload
    shown = printable(evil)
    assert payload["parts"][0]["layer"] == shown
    assert tokens(payload, payload["parts"][0]) == [[shown] * 4] * 3
    assert dict(payload["about"]["facts"])["notes"] == [shown]
    assert found.texts["title"] == [f"{shown} · gateprobe"]


# tokens


def test_tokens_stand_at_their_timesteps(tmp_path):
    (tmp_path / "words.json").write_text(json.dumps(TEXTS))
    out = tmp_path / "r.html"
    done = command(SAMPLES / "brackets.keras", SAMPLES / "brackets.npy", "--tokens", tmp_path / "words.json", "-o", out)
    assert (done.exit_code, done.output) == (0, "")
    payload = Page(out.read_text()).payload
    assert tokens(payload, payload["parts"][0]) == TEXTS


def test_words_of_a_vocabulary(tmp_path):
    words = ["", *"abcdefghi"]
    (tmp_path / "vocab.json").write_text(json.dumps(words))
    out = tmp_path / "r.html"
    done = command(SAMPLES / "tokens.keras", SAMPLES / "tokens.npy", "--vocab", tmp_path / "vocab.json", "-o", out)
    assert done.exit_code == 0, done.output
    payload = Page(out.read_text()).payload
    expected = [[words[number] for number in row] for row in np.load(SAMPLES / "tokens.npy")]
    assert [tokens(payload, part) for part in payload["parts"]] == [expected, expected]


# what is left out


sizes = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 40), st.integers(1, 6)), min_size=1, max_size=3)


@given(sizes, st.integers(1, 50), st.integers(1, 100_000))
def test_what_is_kept_is_within_the_limit_and_could_not_be_more(listed, samples, limit):
    def values(cut):
        longest, widest = cut.timesteps or 300, cut.units or 40
        return cut.samples * sum(min(t, longest) * min(u, widest) * s for t, u, s in listed)

    if values(Cut(1, 1, 1)) > limit:
        with pytest.raises(InputError, match="is the least"):
            cut_of(listed, samples, limit)
        return
    cut = cut_of(listed, samples, limit)
    assert values(cut) <= limit
    if cut.timesteps is None:
        assert cut.samples == samples or values(Cut(cut.samples + 1)) > limit
        return
    assert (cut.samples, values(Cut(1)) > limit) == (1, True)
    longest = max(t for t, _, _ in listed)
    if cut.units is None:
        assert cut.timesteps >= min(100, longest) or max(u for _, u, _ in listed) == 1
        assert values(Cut(1, cut.timesteps + 1)) > limit
    else:
        assert values(Cut(1, min(100, longest))) > limit, "units go only when a hundred timesteps have no room"
        assert cut.timesteps == min(100, longest) or cut.units == 1
        grown = (
            Cut(1, cut.timesteps, cut.units + 1) if cut.timesteps == min(100, longest) else Cut(1, cut.timesteps + 1, 1)
        )
        assert values(grown) > limit


def test_the_first_samples():
    with pytest.warns(GateprobeWarning, match=r"the first 2 of 5 samples.*at most 100 values.*max_values allows more"):
        payload = page(lstm_chunk(samples=5, first=7), max_values=100).payload  # 48 values each
    assert payload["samples"] == [7, 8]
    np.testing.assert_array_equal(
        signals(payload["parts"][0])["candidate"], lstm_chunk(samples=5, first=7).directions[0].candidate[:2]
    )
    assert payload["left_out"] == ["Shown: the first 2 of 5 samples. The page holds at most 100 values."]


def test_no_more_is_run_than_is_kept():
    asked = []

    def begin(progress):
        for first in range(0, 90, 3):
            asked.append(first)
            yield lstm_chunk(first=first)

    with pytest.warns(GateprobeWarning):
        payload = Page(page_of(Observed("x", np.arange(90), begin, dict), max_values=48 * 4)).payload
    assert payload["samples"] == [0, 1, 2, 3]
    assert asked == [0, 3, 6]


def test_the_first_timesteps_of_a_sample_that_is_too_long():
    chunk = lstm_chunk(samples=2, timesteps=500, masked=True)
    excerpt = excerpt_of(of_chunk(chunk, {}), 1201)  # 12 values at each timestep
    with pytest.warns(GateprobeWarning):
        payload = page(chunk, max_values=1201).payload
    (part,) = excerpt.chunk.directions
    assert part.timesteps.tolist() == list(range(100))
    np.testing.assert_array_equal(part.forget_gate, chunk.directions[0].forget_gate[:1, :100])
    np.testing.assert_array_equal(part.mask, chunk.directions[0].mask[:1, :100])
    assert payload["left_out"][0].startswith("Shown: the first of 2 samples; the first 100 of 500 timesteps.")
    assert payload["parts"][0]["complete"] == [True, False]


@pytest.mark.filterwarnings("ignore::gateprobe.errors.GateprobeWarning")
def test_then_the_units_that_vary_most():
    rng = np.random.default_rng(3)
    spread = np.array([0.1, 3.0, 0.0, 1.0, 2.0, 1e30], np.float32)
    state = rng.normal(size=(1, 200, 6)).astype(np.float32) * spread + np.float32(5)
    state[0, 3, 2] = np.nan
    state[0, 4, 0] = np.inf
    part = direction_of("lstm", "forward", {"cell_state": state, "hidden_state": state[..., ::-1].copy()})
    excerpt = excerpt_of(of_chunk(TraceChunk(np.arange(1), (part,)), {}), 600)
    (found,) = excerpt.chunk.directions
    assert (found.units.tolist(), len(found.timesteps)) == ([1, 4, 5], 100)
    np.testing.assert_array_equal(found.cell_state, state[:, :100, [1, 4, 5]])
    np.testing.assert_array_equal(found.hidden_state, state[:, :100, ::-1][..., [1, 4, 5]])
    assert "the 3 units (of up to 6) whose cell_state varies most" in excerpt.left_out[0]


@pytest.mark.parametrize("limit", [10**6, 700, 500])
@pytest.mark.filterwarnings("ignore::gateprobe.errors.GateprobeWarning")
def test_slabs_of_a_long_sequence_are_as_the_whole(limit):
    """Slabs come direction by direction, the others empty."""
    from dataclasses import replace

    whole = TraceChunk(
        np.arange(2), (lstm_chunk(2, 60, 1).directions[0], lstm_chunk(2, 60, 1, layer="b").directions[0])
    )
    labels = ListedTokens("t", "", {number: tuple(f"{number}:{t}" for t in range(60)) for number in range(2)})

    def piece(part, row, span):
        signals = {name: value[row : row + 1, span] for name, value in part.signals.items()}
        return replace(part, signals=signals, timesteps=part.timesteps[span], whole=60)

    def begin(progress):
        for row in range(2):
            for place, part in enumerate(whole.directions):
                for start in (0, 25, 50):
                    parts = [piece(one, row, slice(0, 0)) for one in whole.directions]
                    parts[place] = piece(part, row, slice(start, min(start + 25, 60)))
                    yield TraceChunk(np.array([row]), tuple(parts), continues=place > 0 or start > 0)

    slabs = Observed("x", np.arange(2), begin, dict, tokens=labels)
    at_once = Observed("x", np.arange(2), lambda progress: iter([whole]), dict, tokens=labels)
    found, expected = (Page(page_of(observed, max_values=limit)).payload for observed in (slabs, at_once))
    assert found == expected
    shape = found["parts"][0]["shape"]
    assert shape == {10**6: [2, 60, 1], 700: [1, 58, 1], 500: [1, 41, 1]}[limit]
    assert tokens(found, found["parts"][1])[0] == [f"0:{t}" for t in range(shape[1])]


def empty(shape):
    return TraceChunk(np.arange(shape[0]), (direction_of("lstm", "forward", {"hidden_state": np.zeros(shape)}),))


@pytest.mark.parametrize(("chunk", "reason"), [
    (TraceChunk(np.arange(2), ()), "the model has no recurrent layer"),
    (empty((2, 0, 3)), "no recurrent layer has a timestep"),
    (empty((0, 2, 3)), "there are no samples"),
])  # fmt: skip
def test_nothing_to_show(chunk, reason):
    with pytest.raises(InputError, match=reason):
        page(chunk)


# verdicts


def verdict(tmp_path, metadata, **changes):
    said = {
        "format": 2, "status": "agrees", "file": "m.keras", "sha256": metadata["model"]["sha256"],
        "keras": "keras 3.15.1", "semantics": metadata["semantics"],
        "inputs": [{"description": "made, seed 0", "samples": 6}],
        "signals": [{"values": 1500, "mismatches": 0}, {"values": 12, "mismatches": 0}], "problems": [], "left_out": [],
        "random": [], "notes": [], "built_because": None, "explanations": [],
    }  # fmt: skip
    file = tmp_path / "verdict.json"
    file.write_text(json.dumps({key: value for key, value in (said | changes).items() if value != "left out"}))
    return read_verdict(str(file))


def test_a_verdict_on_the_same_file(tmp_path, brackets):
    found = verdict(tmp_path, brackets.metadata).about(brackets.metadata)
    assert (found["status"], found["badge"]) == ("agrees", "AGREES with Keras")
    assert found["sentence"] == "AGREES: 1,512 numbers in 2 signals compared with keras 3.15.1"
    assert found["lines"] == ["gateprobe verify, on this very file: m.keras.", "Inputs: made, seed 0."]


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"status": "disagrees", "signals": [{"values": 10, "mismatches": 3}], "problems": ["masks differ"]},
     "DISAGREES: 3 of 10 numbers in 1 signal differ from keras 3.15.1"),
    ({"status": "random", "random": ["dropout"]}, "RANDOM: 1,512 numbers in 2 signals compared with keras 3.15.1"),
    ({"left_out": ["custom (Mine): unknown"]}, "AGREES IN PART: 1,512 numbers in 2 signals compared with keras 3.15.1"),
])  # fmt: skip
def test_other_verdicts(tmp_path, brackets, changes, sentence):
    found = verdict(tmp_path, brackets.metadata, **changes).about(brackets.metadata)
    assert found["sentence"] == sentence
    for key in ("problems", "random", "left_out"):
        for text in changes.get(key, []):
            assert any(line.endswith(f": {text}") for line in found["lines"])


@pytest.mark.parametrize(("changes", "reason"), [
    ({"sha256": "0" * 64}, "is about another model file"),
    ({"semantics": "keras2: x"}, "with other meanings: keras2: x"),
])  # fmt: skip
def test_a_verdict_on_something_else_is_refused(tmp_path, brackets, changes, reason):
    with pytest.raises(InputError, match=reason):
        verdict(tmp_path, brackets.metadata, **changes).about(brackets.metadata)


@pytest.mark.parametrize("missing", ["sha256", "semantics"])
def test_what_a_verdict_does_not_say_the_page_says(tmp_path, brackets, missing):
    lines = verdict(tmp_path, brackets.metadata, **{missing: "left out"}).about(brackets.metadata)["lines"]
    assert any("is not known" in line for line in lines)
    lines = verdict(tmp_path, brackets.metadata).about({})["lines"]
    assert sum("is not known" in line for line in lines) == 2


@pytest.mark.parametrize("text", [
    "", "[]", "{}", "nonsense", '{"format": 3, "status": "agrees", "signals": [], "keras": ""}',
    '{"format": true, "status": "agrees", "signals": [], "keras": ""}',
    '{"format": 1, "status": [], "signals": [], "keras": ""}',
    '{"format": 1, "status": "fine", "signals": [], "keras": ""}',
])  # fmt: skip
def test_what_is_no_verdict(tmp_path, text):
    (tmp_path / "v.json").write_text(text)
    out = tmp_path / "r.html"
    model = (SAMPLES / "brackets.keras", SAMPLES / "brackets.npy")
    done = command(*model, "--verification", tmp_path / "v.json", "-o", out)
    assert (done.exit_code, done.output.count("\n"), out.exists()) == (2, 1, False)
    assert "v.json" in done.output


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [None], [{}], [[]], {"a": 1}])
def test_a_verdict_with_anything_in_it(tmp_path, brackets, value):
    keys = (
        "file",
        "inputs",
        "signals",
        "problems",
        "left_out",
        "random",
        "notes",
        "built_because",
        "explanations",
        "keras",
    )
    for key in keys:
        found = verdict(tmp_path, brackets.metadata, **{key: value}).about(brackets.metadata)
        assert found["sentence"].startswith("AGREES")


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_the_output_of_verify_is_a_verdict(tmp_path, in_process):
    model = SAMPLES / "brackets.keras"
    done = CliRunner().invoke(main, ["verify", str(model), "--json"])
    (tmp_path / "v.json").write_text(done.stdout)
    out = tmp_path / "r.html"
    done = command(model, SAMPLES / "brackets.npy", "--verification", tmp_path / "v.json", "-o", out)
    assert (done.exit_code, done.output) == (0, "")
    found = Page(out.read_text()).payload["verdict"]
    assert found["badge"] == "AGREES with Keras"
    assert found["lines"][0].startswith("gateprobe verify, on this very file: ")
    other = command(
        SAMPLES / "tokens.keras",
        SAMPLES / "tokens.npy",
        "--verification",
        tmp_path / "v.json",
        "-o",
        tmp_path / "s.html",
    )
    assert (other.exit_code, (tmp_path / "s.html").exists()) == (2, False)
    assert "is about another model file" in other.output


# the command


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet", ".arrow", ".csv"])
def test_a_trace_file_gives_the_same_numbers_as_the_model(tmp_path, brackets, suffix):
    brackets.save(tmp_path / f"trace{suffix}")
    assert command(tmp_path / f"trace{suffix}", "-o", tmp_path / "a.html").exit_code == 0
    command(SAMPLES / "brackets.keras", SAMPLES / "brackets.npy", "-o", tmp_path / "b.html")
    found, expected = (Page((tmp_path / name).read_text()).payload for name in ("a.html", "b.html"))
    for key in ("signals", "shape", "timesteps", "units", "mask", "complete", "layer"):
        assert found["parts"][0][key] == expected["parts"][0][key]


def test_a_selection():
    trace = gateprobe.read(SAMPLES / "tokens.keras").trace(np.load(SAMPLES / "tokens.npy"))
    selection = Selection(directions="backward", units=[1, 3], timesteps=slice(2, 6), samples=[3], signals=["c", "f"])
    observed = of_chunk(TraceChunk(trace.samples, trace.directions), {}, selection=selection)
    payload = Page(page_of(observed)).payload
    (part,) = payload["parts"]
    assert (payload["samples"], part["timesteps"], part["units"]) == ([3], [2, 3, 4, 5], [1, 3])
    np.testing.assert_array_equal(
        signals(part)["cell_state"], trace["bidirectional"].backward.cell_state[3:4, 2:6][..., [1, 3]]
    )


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    model, out = (SAMPLES / "brackets.keras", SAMPLES / "brackets.npy"), tmp_path / "r.html"
    out.write_text("mine")
    refused = command(*model, "-o", out)
    assert (refused.exit_code, out.read_text()) == (2, "mine")
    assert "exists already; use --force to replace it" in refused.output
    assert command(*model, "-o", out, "--force", "--max-values", 3).exit_code == 2
    assert out.read_text() == "mine"
    assert command(*model, "-o", out, "--force").exit_code == 0
    assert out.read_text().startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize(("arguments", "reason"), [
    (["-o", "r.png"], "a report is a page of HTML; end its name in .html"),
    ([], "Missing option '-o'"),
    (["-o", "r.html", "--max-values", "0"], "--max-values 0: expected 1 or more"),
    (["-o", "r.html", "--unit", "9"], "available: 0 to 1"),
    (["-o", "r.html", "--layer", "no"], "available: lstm"),
    (["-o", "no/such/r.html"], "there is no such folder"),
    (["-o", "r.html", "--verification", "r.html"], "is also an input"),
])  # fmt: skip
def test_refusals(tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    done = command(SAMPLES / "brackets.keras", SAMPLES / "brackets.npy", *arguments)
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert reason in done.output
    assert done.output.count("\n") == 1


def test_it_never_writes_over_what_it_reads(tmp_path):
    model = tmp_path / "m.html"  # a model under any name is a model
    model.write_bytes((SAMPLES / "brackets.keras").read_bytes())
    done = command(model, SAMPLES / "brackets.npy", "-o", model, "--force")
    assert done.exit_code == 2
    assert "is also an input" in done.output
    assert model.read_bytes() == (SAMPLES / "brackets.keras").read_bytes()


def test_standard_output(brackets):
    done = command(SAMPLES / "brackets.keras", SAMPLES / "brackets.npy", "-o", "-")
    assert done.exit_code == 0
    assert Page(done.stdout).payload["samples"] == [0, 1, 2]


def test_the_note_is_said_on_stderr_too(tmp_path):
    model = (SAMPLES / "brackets.keras", SAMPLES / "brackets.npy", "--max-values", 150)
    done = command(*model, "-o", tmp_path / "a.html")
    assert done.stderr == (
        "gateprobe: note: Shown: the first of 3 samples. The page holds at most 150 values. --max-values allows more\n"
    )
    assert command(*model, "-o", tmp_path / "b.html", "-q").output == ""


def test_in_python(tmp_path, brackets):
    brackets.report(tmp_path / "r.html", tokens=TEXTS)
    payload = Page((tmp_path / "r.html").read_text()).payload
    assert tokens(payload, payload["parts"][0]) == TEXTS
    assert payload["about"]["title"] == "brackets.keras"
    with pytest.raises(OutputError, match="overwrite=True"):
        brackets.report(tmp_path / "r.html")
    with pytest.warns(GateprobeWarning, match="first of 3"):
        brackets.report(tmp_path / "r.html", overwrite=True, max_values=150)
    with pytest.raises(InputError, match="there are 2 lists of tokens and 3 samples in the trace"):
        brackets.report(tmp_path / "s.html", tokens=TEXTS[:2])
    with pytest.raises(InputError, match="11 tokens and 12 timesteps"):
        brackets.report(tmp_path / "s.html", tokens=[TEXTS[0][1:], *TEXTS[1:]])
    with pytest.raises(InputError, match="these are the tokens of one sample, and 3 are shown; give a list"):
        brackets.report(tmp_path / "s.html", tokens="((a)(a(a)))a")
    assert not (tmp_path / "s.html").exists()
    for number, words in enumerate(("((a)(a(a)))a", list("((a)(a(a)))a"))):  # of one sample, as in a plot
        brackets[:1].report(tmp_path / f"{number}.html", tokens=words)
        payload = Page((tmp_path / f"{number}.html").read_text()).payload
        assert tokens(payload, payload["parts"][0]) == [list("((a)(a(a)))a")]
