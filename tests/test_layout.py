"""What people see: every command's tables at every width, in a pipe, in colour and without."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import h5py
import polars as pl
import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from gateprobe.analysis.agreement import Divergence, Gap, SignalReport
from gateprobe.cli import main
from gateprobe.cli.preview import Preview
from gateprobe.cli.verdict import show_verdict
from gateprobe.errors import Worded
from gateprobe.verification.result import Explanation, InputSet, Verification

SAMPLES = Path(__file__).parents[1] / "sample_models"
LONG = "a_recurrent_layer_with_a_name_of_sixty_letters_that_fits_nowhere"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def beside_the_samples(monkeypatch):
    """Short names of files: the path of a clone is a word of any length, and no word is cut."""
    monkeypatch.chdir(SAMPLES)


@pytest.fixture
def long_names(tmp_path, monkeypatch):
    """A model whose recurrent layer has a very long name."""
    monkeypatch.chdir(tmp_path)
    path = Path("long.h5")
    path.write_bytes((SAMPLES / "keras2.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        text = file.attrs["model_config"]
        text = text.decode() if isinstance(text, bytes) else text
        file.attrs["model_config"] = text.replace('"lstm_1"', f'"{LONG}"')
        weights = file["model_weights"]
        weights.move("lstm_1", LONG)
        weights.attrs["layer_names"] = [LONG.encode(), b"dense_1"]
    return path


def screen(width, *arguments):
    done = CliRunner(env={"COLUMNS": str(width) if width else None}).invoke(main, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.stdout


def words(text):
    """Return the words of a report, without what only lays it out."""
    return re.sub(r"[─\s]+|\(not shown[^)]*\)", " ", text).split()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("sample", ["keras2.h5", "tokens.keras", "translate.keras", "brackets.keras"])
def test_inspect_fits_the_screen_and_breaks_no_word(sample, width):
    known = set(words(screen(None, "inspect", sample)))
    text = screen(width, "inspect", sample)
    titles = {word.rstrip(":") for word in words(text)}
    assert {word for word in words(text) if word not in known and word.rstrip(":") not in known} == set(), titles
    for line in text.splitlines():
        assert cell_len(line) <= width, line
        assert line == line.rstrip()


@pytest.mark.parametrize("width", [40, 60, 80, 120, None])
def test_a_long_name_stays_whole(long_names, width):
    text = screen(width, "inspect", long_names)
    assert text.count(LONG) >= 2
    lines = [line for line in text.splitlines() if LONG not in line]
    assert max(map(cell_len, lines)) <= (width or 10**6)


def test_a_pipe_gets_one_line_for_each_fact_and_row():
    lines = screen(None, "inspect", "keras2.h5").splitlines()
    assert not [line for line in lines if "  " in line or line != line.rstrip(" ")]
    assert "container\thdf5" in lines
    assert "lstm_1\tLSTM\t(samples, 3)\t72\tlstm_1_input" in lines
    assert "lstm_1\tLSTMCell\tforward\t2\t3\thard_sigmoid[slope=0.2]\ttanh\tyes" in lines


def test_narrow_screens_get_fewer_columns_and_then_lists():
    wide, medium, narrow = (screen(width, "inspect", "keras2.h5") for width in (120, 80, 40))
    assert "not shown at this width" not in wide
    assert "not shown at this width: gates, activation" in medium
    assert "gates: hard_sigmoid[slope=0.2]" in narrow


def report(signal, layer=LONG, direction="forward", *, wrong=0, required=0.045):
    gap = Gap(1.2e-7, 7e-9, 2.0, 1.0)
    place = Divergence(layer, direction, signal, 0, 2, 2, 1, 0.5, 0.25, 0.25, 1e-6) if wrong else None
    return SignalReport(layer, direction, signal, 108, gap, gap, gap, required, wrong, place, place)


def verification(*signals, **changes):
    made = {
        "file": "model.h5", "sha256": "", "era": "keras2", "keras": "keras 3.15.1", "backend": "tensorflow 2.21.0",
        "built_because": None,
        "inputs": (InputSet("made, seed 0", {"x": [0] * 6}),), "semantics": "keras2: hard_sigmoid[slope=0.2]",
        "signals": signals, "problems": (), "first": None, "explanations": (), "notes": (), "random": (),
        "left_out": (), "rule": "what is allowed, " * 20,
    }  # fmt: skip
    return Verification(**{**made, **changes})


AGREES = verification(
    report("forget_gate", required=0.02), report("hidden_state"), report("output", "dense", "", required=0.01)
)
DISAGREES = verification(
    report("forget_gate", wrong=9, required=3),
    first=report("forget_gate", wrong=9).first,
    explanations=(Explanation("hard_sigmoid slope", "Keras computes hard_sigmoid " * 9, everything=True),),
)


def shown(capsys, monkeypatch, result, width=None, *, quiet=False, verbose=False):
    if width:
        monkeypatch.setenv("COLUMNS", str(width))
    else:
        monkeypatch.delenv("COLUMNS", raising=False)
    show_verdict(result, quiet=quiet, verbose=verbose)
    return capsys.readouterr().out.splitlines()


def test_the_verdict_comes_first_and_alone_when_quiet(capsys, monkeypatch):
    assert shown(capsys, monkeypatch, AGREES)[0].startswith("AGREES: 324 numbers in 3 signals (6 samples)")
    assert shown(capsys, monkeypatch, DISAGREES)[0].startswith("DISAGREES: 9 of 108 numbers")
    for result in (AGREES, DISAGREES):
        assert len(shown(capsys, monkeypatch, result, quiet=True)) == 1


def test_a_layer_that_agrees_takes_one_line_unless_all_is_asked_for(capsys, monkeypatch):
    lines = shown(capsys, monkeypatch, AGREES)
    assert [line for line in lines if LONG in line] == [f"{LONG}\tforward\t2\t216\t1.2e-07\t4.5%\tok"]
    assert "dense\toutput\t1\t108\t1.2e-07\t1.0%\tok" in lines
    assert not [line for line in lines if line.startswith(("rule", "semantics"))]
    verbose = "\n".join(shown(capsys, monkeypatch, AGREES, verbose=True))
    for text in ("forget_gate", "hidden_state", "rule\t", "semantics\tkeras2", "2 ulp"):
        assert text in verbose


def test_a_finding_is_one_line_in_a_pipe(capsys, monkeypatch):
    (line,) = [line for line in shown(capsys, monkeypatch, DISAGREES) if "would explain" in line]
    assert line.endswith("everything agrees then")


def test_what_is_left_out_is_told_in_the_words_of_the_command_line(capsys, monkeypatch):
    reason = Worded.of("l (Lambda): --layer=l is code; use --feed LAYER=FILE")
    assert reason == "l (Lambda): layers=l is code; use feeds={LAYER: array}"
    lines = shown(capsys, monkeypatch, verification(report("forget_gate"), left_out=(reason,)))
    assert "not compared, nor what depends on it: l (Lambda): --layer l is code; use --feed LAYER=FILE" in lines


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("result", [AGREES, DISAGREES], ids=["agrees", "disagrees"])
@pytest.mark.parametrize("verbose", [False, True])
def test_a_verdict_fits_the_screen_and_breaks_no_word(capsys, monkeypatch, result, width, verbose):
    known = set(words("\n".join(shown(capsys, monkeypatch, result, verbose=verbose))))
    lines = shown(capsys, monkeypatch, result, width, verbose=verbose)
    found = set(words("\n".join(lines)))
    assert {word for word in found if word not in known and word.rstrip(":") not in known} == set()
    assert all(cell_len(line) <= width for line in lines if LONG not in line)


def on_a_terminal(width, *arguments, **environment):
    """Return what a command prints on a terminal."""
    parent, child = pty.openpty()
    clean = {name: text for name, text in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    command = [sys.executable, "-c", "from gateprobe.cli import main; main()", *map(str, arguments)]
    env = {**clean, "TERM": "xterm-256color", "COLUMNS": str(width), **environment}
    with subprocess.Popen(command, stdout=child, stderr=child, env=env) as process:
        os.close(child)
        found = b""
        while True:
            try:
                data = os.read(parent, 65536)
            except OSError:
                break
            if not data:
                break
            found += data
        process.wait()
    os.close(parent)
    return found.decode().replace("\r\n", "\n")


def test_a_terminal_shows_titles_in_bold_and_no_colour_where_none_is_wanted():
    text = on_a_terminal(80, "inspect", "keras2.h5")
    assert "\x1b[1m" in text
    assert ESCAPES.sub("", text) == screen(80, "inspect", "keras2.h5")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", on_a_terminal(80, "inspect", "keras2.h5", NO_COLOR="1"))


@pytest.mark.parametrize(("result", "colour", "cell"), [("AGREES", "32", "ok"), ("DISAGREES", "31", "9 differ")])
def test_the_verdict_and_its_rows_are_green_or_red(result, colour, cell):
    path = str(Path(__file__).parent)
    show = f"test_layout.show_verdict(test_layout.{result}, quiet=False, verbose=False)"
    code = f"import sys; sys.path.insert(0, {path!r}); import test_layout; {show}"
    parent, child = pty.openpty()
    clean = {name: text for name, text in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    for extra, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        env = {**clean, "TERM": "xterm", **extra}
        subprocess.run([sys.executable, "-c", code], stdout=child, env=env, check=True)
        shown = os.read(parent, 65536).decode()
        assert (f"\x1b[1;{colour}m" in shown) is coloured
        assert bool(re.search(rf"\x1b\[{colour}m *{cell}\x1b\[0m", shown)) is coloured
    os.close(child)
    os.close(parent)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_dump_on_a_terminal_shows_the_head_and_the_tail_of_its_table(width):
    arguments = ("dump", "keras2.h5", "keras2.npy", "-q")
    header, *rows = screen(None, *arguments).splitlines()
    lines = ESCAPES.sub("", on_a_terminal(width, *arguments)).splitlines()
    assert max(map(cell_len, lines)) <= width
    table = [line.split() for line in lines[2:13]]
    assert table[5] == ["…"] * len(table[0])
    for line, row in zip(table[:5] + table[6:], rows[:5] + rows[-5:], strict=True):
        cells = dict(zip(header.split(","), row.split(","), strict=True))
        shown = dict(zip(lines[0].split(), line, strict=True))
        assert [shown[name] for name in ("sample", "timestep", "unit")] == [
            cells[name] for name in ("sample", "timestep", "unit")
        ]
        assert float(shown["input_gate"]) == pytest.approx(float(cells["input_gate"]), abs=1e-6)
    assert f"{len(rows)} rows" in " ".join(lines[13:])


def test_a_terminal_gets_all_of_the_csv_when_it_is_asked_for():
    arguments = ("dump", "keras2.h5", "keras2.npy", "-q")
    assert on_a_terminal(80, *arguments, "--format", "csv") == screen(None, *arguments)


def test_predict_on_a_terminal_shows_a_table():
    lines = ESCAPES.sub("", on_a_terminal(80, "predict", "keras2.h5", "keras2.npy", "-q")).splitlines()
    assert lines[0].split()[-1] == "value"
    assert "rows; -o FILE.csv writes them all" in lines[-1]


@pytest.mark.parametrize("piece", [1, 3, 100])
@pytest.mark.parametrize("rows", [1, 4, 5, 6, 9, 10, 11, 30])
def test_a_preview_shows_each_row_once(capsys, monkeypatch, rows, piece):
    monkeypatch.setenv("COLUMNS", "80")
    table = pl.DataFrame({"sample": range(rows), "value": [n / 4 for n in range(rows)]})
    preview = Preview()
    preview.take(table[start : start + piece] for start in range(0, rows, piece))
    preview.show()
    found = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:-2]]
    every = [str(n) for n in range(rows)]
    assert found == (every if rows <= 10 else [*every[:5], "…", *every[-5:]])


def test_a_model_that_can_be_replayed_is_bound_once(monkeypatch):
    from gateprobe.cli import summary

    plans = []
    real = summary.make_plan
    monkeypatch.setattr(summary, "make_plan", lambda *args, **options: plans.append(args) or real(*args, **options))
    json.loads(screen(None, "inspect", "translate.keras", "--json"))
    assert len(plans) == 1
