"""SOURCE [INPUT...]: a trace in any format or a model with inputs, the same for every command that looks."""

import json
import sys
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest
from click.testing import CliRunner

import gateprobe
from gateprobe.cli import COMMANDS, main
from gateprobe.cli.options import command, selecting, talking
from gateprobe.cli.source import observing, say_notes
from gateprobe.observed import of_chunk, of_file
from gateprobe.trace_files.recognised import is_trace
from gateprobe.traces.chunk import TraceChunk, joined

SAMPLES = Path(__file__).parents[1] / "sample_models"
MODEL, IDS = SAMPLES / "tokens.keras", SAMPLES / "tokens.npy"
FORMATS = ("t.npz", "t.h5", "t.parquet", "t.arrow", "t.csv", "t.tsv", "t.jsonl", "t/", "t.zarr")


@command("gateprobe look model.keras x.npy")
@observing
@selecting
@talking
def look(source, selection, talk):
    """Print the sum of every signal, twice, and the labels of the first sample."""
    observed = source.open(selection, talk)
    told = []
    for _ in range(2):
        whole = joined(observed.chunks(lambda *said: told.append(said)))
        click.echo(json.dumps({f"{part.layer} {part.direction} {name}": float(np.nansum(part[name].astype("f8")))
                               for part in whole.directions for name in part}))  # fmt: skip
        assert told[-1] == (observed.count, observed.count, "samples")
    assert observed.numbers.tolist() == whole.samples.tolist()
    part = whole.directions[0]
    click.echo(json.dumps([observed.labels(part, 0, int(whole.samples[0])), observed.metadata.get("era")]))
    say_notes(observed, talk)


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(main, "_short_helps", {**COMMANDS, "look": "Look."})
    module = ModuleType("gateprobe.cli.look")
    module.look = look
    monkeypatch.setitem(sys.modules, "gateprobe.cli.look", module)

    def run(*arguments):
        done = CliRunner().invoke(main, list(map(str, arguments)), prog_name="gateprobe")
        return done.exit_code, done.stdout, done.stderr

    return run


def seen(run, *arguments):
    status, out, err = run("look", *arguments)
    assert (status, err) == (0, "")
    first, second, last = map(json.loads, out.splitlines())
    assert first == second
    return first, last


@pytest.mark.parametrize("name", FORMATS)
def test_a_trace_looks_as_its_model_does(run, tmp_path, name):
    run("dump", MODEL, IDS, "-o", f"{tmp_path}/{name}")
    file = tmp_path / name.rstrip("/")
    for chosen in (
        (),
        ("--unit", "3", "--sample", "-1", "--timestep", "2:", "--direction", "backward", "--signal", "c"),
    ):
        of_model, of_trace = seen(run, MODEL, IDS, *chosen)[0], seen(run, file, *chosen)[0]
        assert of_trace.keys() == of_model.keys()
        assert list(of_trace.values()) == pytest.approx(list(of_model.values()), rel=1e-12)
    moved = file.rename(tmp_path / "model.keras")
    assert is_trace(str(moved))
    assert seen(run, moved)[0] == seen(run, MODEL, IDS)[0]


def test_a_model_is_no_trace_whatever_its_name(tmp_path):
    for name in ("tokens.keras", "keras2.h5"):
        (tmp_path / "t.npz").write_bytes((SAMPLES / name).read_bytes())
        assert not is_trace(str(tmp_path / "t.npz"))
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    for name in ("x.npz", "x.csv", "none", ".", "a\0b"):
        assert not is_trace(str(tmp_path / name) if "\0" not in name else name)
    assert not is_trace("s3://bucket/t.npz")


@pytest.fixture
def trace(run, tmp_path):
    run("dump", MODEL, IDS, "--sample", "1,3", "--unit", "2:4", "-o", tmp_path / "t.npz")
    return tmp_path / "t.npz"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.npy"], "t.npz: is a trace, which takes no inputs; leave out x.npy"),
        (["--dtype", "float32"], "t.npz: is a trace, which is not run: --dtype does not go with it"),
        (["--feed", "a=b.npy"], "--feed does not go with it"),
        (["--batch-size", "2"], "--batch-size does not go with it"),
        (["--threads", "1"], "--threads does not go with it"),
        (["--semantics", "auto"], "--semantics does not go with it"),
        (["--architecture", "a.json"], "--architecture does not go with it"),
        (["--go-backwards"], "--go-backwards does not go with it"),
        (["--vocab", "v.json"], "is a trace, which is not run: --vocab does not go with it"),
        (["--unit", "0"], "t.npz: --unit 0 selects nothing; available: 2 to 3"),
        (["--unit", "-9"], "t.npz: --unit -9 selects nothing; available: 2 to 3"),
        (["--sample", "0,2"], "t.npz: --sample 0,2 selects nothing; available: 1 to 3"),
        (["--timestep", "99"], "t.npz: --timestep 99 selects nothing; available: 0 to 7"),
        (["--layer", "bidirectionl"], "selects nothing; did you mean bidirectional? available: bidirectional"),
        (["--signal", "z"], "selects nothing; available: input_gate"),
        (["--max-bytes", "100"], "t.npz: the arrays need more than the 100 bytes of the limit"),
    ],
)
def test_what_does_not_go_with_a_trace_is_refused(run, trace, arguments, message):
    status, out, err = run("look", trace, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_model_without_inputs_says_what_it_takes(run):
    assert run("look", MODEL) == (
        2,
        "",
        f"gateprobe: {MODEL}: an input is missing; give tokens (samples, any) as FILE or NAME=FILE\n",
    )
    assert "there is no such file" in run("look", "none.keras")[2]
    assert "give the model first" in run("look", IDS, MODEL)[2]


def test_a_file_of_weights_is_looked_at_too(run, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 2), "f4"))
    weights = next((Path(__file__).parent / "data").rglob("*.weights.h5"), None)
    assert weights is not None
    assert run("look", weights)[0] == 2


def test_labels_come_from_tokens_and_vocabularies(run, trace, tmp_path):
    ids = np.load(IDS)
    (tmp_path / "v.json").write_text(json.dumps([f"w{n}" for n in range(10)]))
    (tmp_path / "t.json").write_text(json.dumps([[f"t{n}" for n in row] for row in ids.tolist()]))
    assert seen(run, MODEL, IDS, "--vocab", tmp_path / "v.json", "--sample", "1")[1][0] == [f"w{n}" for n in ids[1]]
    for source in ([MODEL, IDS, "--sample", "1,3"], [trace]):
        labels, era = seen(run, *source, "--tokens", tmp_path / "t.json", "--timestep", "1:3")[1]
        assert (labels, era) == ([f"t{n}" for n in ids[1, 1:3]], "keras3")
    status, _, err = run("look", MODEL, IDS, "--tokens", tmp_path / "t.json", "--vocab", tmp_path / "v.json")
    assert (status, err.count("\n")) == (2, 1)
    assert "--tokens and --vocab both say" in err


def test_a_trace_may_hold_its_labels_itself(run, tmp_path):
    (tmp_path / "v.txt").write_text("\n".join(f"w{n}" for n in range(10)))
    for name in ("t.parquet", "t.csv"):
        run("dump", MODEL, IDS, "--vocab", tmp_path / "v.txt", "-o", tmp_path / name, "--sample", "1")
        assert seen(run, tmp_path / name)[1][0] == [f"w{n}" for n in np.load(IDS)[1]]


def test_a_trace_in_place_of_a_model_is_told(run, trace):
    message = f"gateprobe: {trace}: is a trace, not a model; gateprobe inspect shows what it holds\n"
    assert run("predict", trace, IDS) == (2, "", message)


def test_what_is_looked_at_in_python():
    trace = gateprobe.read(MODEL).trace(np.load(IDS))
    whole = TraceChunk(trace.samples, trace.directions)
    observed = of_chunk(whole, trace.metadata, selection=gateprobe.Selection(samples=[1], units=0))
    (chunk,) = observed.chunks()
    assert (chunk.samples.tolist(), chunk.directions[0].units.tolist(), observed.model) == ([1], [0], None)
    with pytest.raises(gateprobe.InputError, match="is a trace, without the weights; give the model and its inputs"):
        observed.needs_run("the weights")


def test_a_run_is_computed_anew_at_each_pass_and_says_where_it_comes_from(run):
    from gateprobe.observed import of_run
    from gateprobe.opened_model import open_model

    model = open_model(MODEL)
    observed = of_run(model.tracing(np.load(IDS), selection=gateprobe.Selection(samples=[2])))
    assert (observed.model, observed.samples.count, observed.count) == (model, 4, 1)
    assert observed.needs_run("it").plan is observed.tracing.plan
    first, second = (joined(observed.chunks()).directions[0].hidden_state for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert observed.metadata["model"]["file"] == "tokens.keras"


def test_memory_does_not_grow_with_a_trace(tmp_path, monkeypatch):
    """Chunks hold some samples, and nothing keeps the ones before."""
    x = np.random.default_rng(0).integers(0, 10, (400, 8))
    trace = gateprobe.read(MODEL).trace(x)
    monkeypatch.setattr("gateprobe.trace_files.pieces.PIECE_CELLS", 10_000)
    monkeypatch.setattr("gateprobe.trace_files.pieces.PIECE_BYTES", 100_000)
    monkeypatch.setattr("gateprobe.trace_files.arrays.CHUNK_BYTES", 20_000)
    for name in ("t.npz", "t.h5", "t.parquet", "t.csv", "t.jsonl"):
        trace.save(tmp_path / name)
        sizes = [len(chunk.samples) for chunk in of_file(tmp_path / name).chunks()]
        assert sum(sizes) == 400
        assert max(sizes) <= 40


def test_inspect_says_what_a_trace_holds(run, trace, tmp_path):
    status, out, err = run("inspect", trace, "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert {key: report[key] for key in ("file", "kind", "layout", "samples", "numbers")} == {
        "file": str(trace),
        "kind": "npz",
        "layout": "arrays",
        "samples": 2,
        "numbers": "1,3",
    }
    forward, backward = report["traces"]
    assert forward == {
        "layer": "bidirectional",
        "direction": "forward",
        "backwards": False,
        "signals": ["input_gate", "forget_gate", "candidate", "output_gate", "cell_state", "hidden_state"],
        "dtype": "float32",
        "shape": [2, 8, 2],
        "units": "2:4",
        "timesteps": "0:8",
        "length": 8,
        "masked": True,
        "context": {},
    }
    assert (backward["direction"], backward["backwards"]) == ("backward", True)
    assert report["metadata"]["model"]["file"] == "tokens.keras"
    assert len(report["metadata"]["model"]["sha256"]) == 64
    page = run("inspect", trace)[1]
    for text in ("tokens.keras", "keras3, Keras 3", "gateprobe 0", "units:2:4", "i f g o c h", "(2, 8, 2)", "1,3"):
        assert text in page
    assert run("inspect", trace, "--check")[0] == 2


@pytest.mark.parametrize("name", FORMATS)
def test_inspect_knows_every_format(run, tmp_path, name):
    run("dump", MODEL, IDS, "--with-input", "-o", f"{tmp_path}/{name}")
    status, out, err = run("inspect", tmp_path / name.rstrip("/"), "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert [one["shape"] for one in report["traces"]] == [[4, 8, 4]] * 2
    assert [one["masked"] for one in report["traces"]] == [True] * 2
    assert [one["context"] for one in report["traces"]] == [{"input.tokens": [4, 8]}] * 2
    assert bool(report["metadata"]) == (name not in ("t.csv", "t.tsv", "t.jsonl"))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_page_of_a_trace_fits(run, trace, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    status, out, _ = run("inspect", trace)
    assert status == 0
    table = out.partition("\n\n")[2]
    assert "bidirectional" in table
    assert max(map(len, table.splitlines())) <= width
