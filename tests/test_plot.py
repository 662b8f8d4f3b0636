"""``gateprobe plot``: what the terminal shows, which files appear, and what is refused."""

import html.parser
import re
import runpy
import shlex
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import altair as alt
import numpy as np
import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.text import Text
from test_layout import on_a_terminal
from traces import direction_of, lstm_chunk

import gateprobe
from gateprobe.cli import main
from gateprobe.pictures.charts import safe
from gateprobe.pictures.colours import rgb_of
from gateprobe.pictures.rendering import rendered
from gateprobe.pictures.scales import OPEN_OR_SHUT, around_zero
from gateprobe.trace import Trace

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
BRACKETS = (SAMPLES / "brackets.keras", SAMPLES / "brackets.npy")
TOKENS = (SAMPLES / "tokens.keras", SAMPLES / "tokens.npy")
WORDS = ("--tokens", SAMPLES / "brackets_tokens.txt")
KINDS = ("heatmap", "unit", "text", "ledger", "histogram", "saturation")
HOSTILE = "</script><script>alert(1)</script><img src=http://x.example/a onerror=alert(2)>&<!--\x1b[31m"
BLOCKS = "▁▂▃▄▅▆▇█"


def run(*arguments, status=0, width=None, **environment):
    env = {"COLUMNS": None if width is None else str(width), "NO_COLOR": None, "FORCE_COLOR": None, **environment}
    done = CliRunner(env=env).invoke(main, ["plot", *map(str, arguments)], prog_name="gateprobe")
    assert done.exit_code == status, done.output
    return done


def refused(*arguments):
    done = run(*arguments, status=2)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line.removeprefix("gateprobe: ")


@pytest.fixture
def trace(tmp_path):
    """A function that stores a trace and returns the name of its file."""

    def store(*parts, samples=1):
        path = tmp_path / "trace.npz"
        Trace(np.arange(samples), parts, {"format": 2, "model": {"file": "m.keras"}}).save(path, overwrite=True)
        return path

    return store


# the terminal


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [40, 60, 80, 120, None])
def test_a_picture_fits_the_screen_and_a_pipe_has_no_escapes(kind, width):
    chosen = () if kind != "ledger" else ("--unit", "0")
    done = run(*BRACKETS, "--kind", kind, *WORDS, *chosen, width=width)
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    drawn = lines if width else lines[lines.index("") :]  # in a pipe, no sentence is broken
    assert all(cell_len(line) <= (width or 80) for line in drawn)
    assert all(line == line.rstrip() for line in lines)


def test_blocks_are_as_high_as_the_numbers():
    lines = run(*BRACKETS, "--signal", "i,c", "--sample", "1", *WORDS, width=60).stdout.splitlines()
    trace = gateprobe.read(BRACKETS[0]).trace(np.load(BRACKETS[1]))["lstm"]
    assert lines[0] == "brackets.keras · lstm · forward · sample 1"
    limit = np.abs(trace.cell_state[1]).max()
    at = lines.index(f"input_gate  0 {BLOCKS} 1")
    below = lines.index(f"cell_state  -{limit:.3g} {BLOCKS} {limit:.3g}")
    assert lines[at + 1].split() == list("(((((())))))")
    for start, values, low, high in ((at, trace.input_gate, 0, 1), (below, trace.cell_state, -limit, limit)):
        for unit in range(2):
            label, blocks = lines[start + 2 + unit].split()
            assert label == str(unit)
            shares = (values[1, :, unit].astype(float) - low) / (high - low)
            assert blocks == "".join(3 * BLOCKS[min(int(share * 8), 7)] for share in shares)
    assert lines[at + 4].split() == list(map(str, range(12)))


def coloured(text):
    """Return the colours behind the characters of each line of a terminal."""
    lines = []
    for line in text.splitlines():
        parsed = Text.from_ansi(line)
        grounds = [None] * len(parsed.plain)
        for span in parsed.spans:
            if getattr(span.style, "bgcolor", None) is not None:
                grounds[span.start : span.end] = [tuple(span.style.bgcolor.triplet)] * (span.end - span.start)
        lines.append((parsed.plain, grounds))
    return lines


def test_a_terminal_shows_the_colours_of_the_numbers():
    text = on_a_terminal(50, "plot", *TOKENS, "--sample", "1", "--direction", "forward", COLORTERM="truecolor")
    lines = coloured(text)
    part = gateprobe.read(TOKENS[0]).trace(np.load(TOKENS[1]))["bidirectional"].forward
    for name in ("forget_gate", "cell_state"):
        start = next(n for n, (plain, _) in enumerate(lines) if plain.startswith(f"{name} "))
        values = part[name][1].astype(np.float64)
        limit = np.abs(values[:6]).max()
        colours = rgb_of(values, OPEN_OR_SHUT if name == "forget_gate" else around_zero(limit))
        for unit in range(4):
            plain, grounds = lines[start + 1 + unit]
            assert plain.startswith(f"{unit} ")
            for timestep in range(6):
                assert grounds[2 + 3 * timestep] == tuple(colours[timestep, unit])
            assert plain[20:26] == "╱" * 6
            assert set(grounds[20:26]) == {(0xA8, 0xA8, 0xA8)}


def test_numbers_can_be_read_on_their_colours():
    text = on_a_terminal(120, "plot", *BRACKETS, "--kind", "unit", COLORTERM="truecolor")
    line = Text.from_ansi(next(line for line in text.splitlines() if "input_gate" in line))
    inks = {line.plain[span.start : span.end].strip(): tuple(span.style.color.triplet) for span in line.spans}
    assert inks["0.16"] == (255, 255, 255)
    assert inks["1.00"] == (34, 34, 34)


def test_many_units_share_lines_and_say_so(trace):
    path = trace(lstm_chunk(1, 200, 100).directions[0])
    text = on_a_terminal(60, "plot", path, "--signal", "c", COLORTERM="truecolor")
    plain = [Text.from_ansi(line).plain for line in text.splitlines()]
    said = " ".join(" ".join(plain[1:4]).split())
    assert "each column is the mean of 4 timesteps" in said
    assert "each row is the mean of 4 units" in said
    assert sum("▀" in line for line in plain) == 13  # 25 rows, two on a line
    assert all(cell_len(line) <= 60 for line in plain)
    text = run(path, "--signal", "c", width=60).stdout
    assert "each row is the mean of 7 units" in " ".join(text.split())


def test_no_colour_where_none_is_wanted():
    for environment in ({"NO_COLOR": "1", "COLORTERM": "truecolor"}, {"TERM": "dumb"}, {"TERM": "xterm"}):
        text = on_a_terminal(80, "plot", *BRACKETS, "--signal", "f", **environment)
        assert "\x1b" not in text
        assert any(block in text for block in BLOCKS)


def test_numbers_are_written_where_they_fit():
    wide = run(*BRACKETS, "--kind", "unit", width=120).stdout
    assert re.search(r"forget_gate +0\.78 +0\.76 +0\.98 +0\.96", wide)
    narrow = run(*BRACKETS, "--kind", "unit", width=60).stdout
    assert re.search(r"forget_gate ▇▇▇▇▇▇█", narrow)
    assert "0.78" not in narrow


def test_what_is_no_number_is_marked_and_said(trace):
    values = np.array([[[0.5], [np.nan], [np.inf], [0.7], [0.5]]], np.float32)
    mask = np.array([[True, True, True, False, True]])
    part = gateprobe.DirectionTrace(
        "lstm", "forward", False, {"cell_state": values}, mask, np.arange(5), np.arange(1), 5
    )
    text = run(trace(part)).stdout
    assert "1 value is NaN; 1 value is infinite; " in text
    assert "· is masked; ? is NaN; ! is infinite" in text
    assert "\n0 ███???!!!···███\n" in text


def test_words_that_do_not_fit_are_not_cut(trace, tmp_path):
    words = [f"word{n}" for n in range(20)]
    (tmp_path / "words.txt").write_text(" ".join(words) + "\n")
    path = trace(lstm_chunk(1, 20, 1).directions[0])
    narrow = run(path, "--signal", "c", "--tokens", tmp_path / "words.txt", width=60).stdout
    assert "tokens do not fit at this width" in " ".join(narrow.split())
    assert "word" not in narrow
    wide = run(path, "--signal", "c", "--tokens", tmp_path / "words.txt", width=200).stdout
    assert [word for word in wide.split() if word.startswith("word")] == words
    text = run(path, "--kind", "text", "--tokens", tmp_path / "words.txt", width=60).stdout
    assert [word for word in text.split() if word.startswith("word")] == words


def test_a_screen_without_blocks_gets_digits(monkeypatch):
    text = on_a_terminal(80, "plot", *BRACKETS, "--signal", "f", NO_COLOR="1", PYTHONIOENCODING="ascii")
    assert "0 12345678 1" in text
    assert text.isascii()
    assert "\\" not in text


def test_only_the_samples_that_are_drawn_are_run(monkeypatch):
    from gateprobe.opened_model import Tracing

    ran = []
    real = Tracing.chunks
    monkeypatch.setattr(
        Tracing, "chunks", lambda self, *rest, **how: ran.append(len(self.numbers)) or real(self, *rest, **how)
    )
    run(*BRACKETS)
    run(*BRACKETS, "--kind", "unit", "--sample", "1,2")
    run(*BRACKETS, "--kind", "saturation")
    assert ran == [1, 2, 3]


def test_a_trace_file_needs_no_model(tmp_path):
    run(*BRACKETS, "--kind", "unit", "--sample", "2")
    trace = gateprobe.read(BRACKETS[0]).trace(np.load(BRACKETS[1]), samples=[1, 2])
    trace.save(tmp_path / "some.npz")
    assert run(tmp_path / "some.npz").stdout == run(*BRACKETS, "--sample", "1").stdout
    assert run(tmp_path / "some.npz", "--sample", "2").stdout == run(*BRACKETS, "--sample", "2").stdout
    assert "--sample 0 selects nothing" in refused(tmp_path / "some.npz", "--sample", "0")


def test_kinds_and_formats_are_completed():
    import click

    from gateprobe.cli.completion import equip

    command = main.get_command(None, "plot")
    equip(command)
    context = click.Context(command, info_name="plot")
    by_name = {parameter.name: parameter for parameter in command.params}
    for name, begun, expected in (
        ("kind", "h", ["heatmap", "histogram"]),
        ("format", "", ["png", "svg", "pdf", "html"]),
    ):
        assert [item.value for item in by_name[name].type.shell_complete(context, by_name[name], begun)] == expected


# files


def test_every_format_is_written_at_once_and_needs_nothing_else(tmp_path):
    names = [tmp_path / f"x.{form}" for form in ("png", "svg", "pdf", "html")]
    done = run(*TOKENS, "--signal", "f", "--sample", "1", *(part for name in names for part in ("-o", name)))
    assert done.output == ""
    png, svg, pdf, page = (name.read_bytes() for name in names)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert pdf.startswith(b"%PDF-")
    assert "forward" in "".join(ET.fromstring(svg).itertext())
    check_page(page.decode())
    assert "forget_gate" in page.decode()


class Page(html.parser.HTMLParser):
    """Collects tags, with what each asks for, and the text of scripts."""

    def __init__(self):
        super().__init__()
        self.tags, self.asked = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.asked += [value for name, value in attrs if name in ("src", "href", "data", "action")]


def check_page(text):
    page = Page()
    page.feed(text)
    assert page.asked == []
    assert page.tags == ["html", "head", "meta", "meta", "meta", "title", "style", "body", "div", *["script"] * 3]
    assert "default-src 'none'" in text


def test_a_page_escapes_whatever_a_chart_holds():
    chart = alt.Chart(alt.Data(values=[{"a": HOSTILE}]), title=HOSTILE).mark_text().encode(text="a:N")
    check_page(rendered(chart, "html", HOSTILE).decode())


def test_texts_from_files_stay_texts(trace, tmp_path):
    path = trace(direction_of(HOSTILE, "forward", lstm_chunk(1, 2, 1).directions[0].signals))
    (tmp_path / "t.json").write_text('["</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>"]')
    out = [tmp_path / "x.svg", tmp_path / "x.html"]
    run(path, "--kind", "text", "--tokens", tmp_path / "t.json", *(part for name in out for part in ("-o", name)))
    check_page(out[1].read_text())
    tags = {element.tag.partition("}")[2] for element in ET.fromstring(out[0].read_bytes()).iter()}
    assert tags <= {"svg", "g", "path", "text", "rect", "defs", "linearGradient", "stop", "clipPath", "style"}
    assert "alert(2)" in out[0].read_text()
    text = run(path, "--kind", "text", "--tokens", tmp_path / "t.json").stdout
    assert "\x1b" not in text
    assert "\\x1b[31m" in text


def test_a_chart_is_safe_in_pages_that_others_make():
    """Altair puts a chart into a script as it is."""
    part = direction_of(HOSTILE, "forward", lstm_chunk(1, 2, 1).directions[0].signals)
    chart = Trace(np.arange(1), (part,), {"model": {"file": HOSTILE}}).plot("text", tokens=[HOSTILE, "<SCRIPT>"])
    text = str(chart.to_dict())
    assert not re.search(r"</?script|<!--", text, re.IGNORECASE)
    assert safe("<unk> </s> a<b <scripted>") == "<unk> </s> a<b ‹scripted>"


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_data_with_an_address_are_refused(form):
    """Our charts have none, nor images (`test_every_kind_goes_without_a_line_of_javascript`)."""
    chart = alt.Chart("http://127.0.0.1:9/data.csv").mark_point().encode(x="a:Q")
    with pytest.raises(ValueError, match="External data url not allowed"):
        rendered(chart, form, "x")


def test_files_appear_all_or_none(tmp_path):
    there = tmp_path / "there.svg"
    there.write_text("mine")
    new = tmp_path / "new.png"
    assert refused(*BRACKETS, "-o", new, "-o", there) == f"{there}: exists already; use --force to replace it"
    assert sorted(tmp_path.iterdir()) == [there]
    assert "no such folder" in refused(*BRACKETS, "-o", new, "-o", tmp_path / "no" / "x.svg")
    assert "selects nothing" in refused(*BRACKETS, "-o", new, "--unit", "9")
    assert sorted(tmp_path.iterdir()) == [there]
    run(*BRACKETS, "--signal", "f", "-o", there, "--force")
    assert there.read_text().startswith("<svg")


def test_what_is_read_is_not_overwritten(tmp_path):
    for name in ("brackets.npy", "brackets_tokens.txt"):
        shutil.copy(SAMPLES / name, tmp_path / f"{name}.svg")
    x, words = tmp_path / "brackets.npy.svg", tmp_path / "brackets_tokens.txt.svg"
    before = x.read_bytes(), words.read_bytes()
    for target in (x, words):
        assert "is also an input" in refused(BRACKETS[0], x, "--tokens", words, "-o", target, "--force")
    assert "named twice" in refused(*BRACKETS, "-o", tmp_path / "a.svg", "-o", tmp_path / "." / "a.svg")
    assert (x.read_bytes(), words.read_bytes()) == before


def test_standard_output_takes_a_picture():
    done = run(*BRACKETS, "--signal", "f", "-o", "-", "--format", "svg")
    ET.fromstring(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "heat"), "--kind heat: no such kind of picture; did you mean heatmap? available: heatmap, unit"),
        (("--kind", "text"), "--kind text colours tokens, and there are none; give --tokens"),
        (("--kind", "ledger", "--signal", "c"), "--kind ledger is made of several signals; leave out --signal"),
        (("--kind", "saturation", "--signal", "c"), "--kind saturation shows gates; choose --signal among input_gate"),
        (("--unit", "2"), "--unit 2 selects nothing; available: 0 to 1"),
        (("--timestep", "12"), "--timestep 12 selects nothing; available: 0 to 11"),
        (("--sample", "3"), "--sample 3 selects nothing; available: 0 to 2"),
        (("--layer", "lstn"), "--layer lstn selects nothing; did you mean lstm? available: lstm"),
        (("-o", "x.gif"), "x.gif: unknown format of pictures '.gif'; use --format or one of .png, .svg, .pdf, .html"),
        (("-o", "x"), "x: has no suffix that names a format of pictures"),
        (("-o", "-"), "-: has no suffix that names a format of pictures"),
        (("-o", "-", "--format", "jpg"), "--format jpg: no such format of pictures; did you mean"),
        (("--format", "svg"), "--format svg: no file is written; use -o FILE"),
        (("-o", "a.svg", "-o", "b.svg", "--format", "svg"), "--format goes with one output"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(*BRACKETS, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_terminal_still_draws(monkeypatch, tmp_path):
    from gateprobe.pictures import extra

    monkeypatch.setattr(extra, "find_spec", lambda name: None)
    assert "pip install 'gateprobe[plot]'" in refused(*BRACKETS, "-o", tmp_path / "x.svg")
    assert list(tmp_path.iterdir()) == []
    assert "forget_gate" in run(*BRACKETS, "--signal", "f").stdout


def test_the_terminal_needs_no_library_of_charts():
    import subprocess
    import sys

    code = "import sys; from gateprobe.cli import main; main(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    command = [sys.executable, "-c", code, "plot", *map(str, BRACKETS)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"altair", "vl_convert", "polars"} & set(loaded)


# the documents


PICTURE = re.compile(r"!\[[^\]]+\]\(([^)]+\.svg)\)")
NUMBER = re.compile(r"-?\d+\.\d+")
COMMAND = re.compile(r"^\$ (gateprobe plot (?:.*\\\n> )*(?:.* )?-o (\S+\.svg))$", re.MULTILINE)


def pictures():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for name in PICTURE.findall(text):
            yield page, name, (page.parent / name).resolve()


def commands():
    """Return the command that writes each file, by its name."""
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    return {name: command.replace("\\\n> ", "") for command, name in COMMAND.findall(text)}


def drawn_by_command(path):
    """Run the command of the documents that writes a picture."""
    _, *arguments = shlex.split(commands()[path.name])
    assert arguments[0] == "plot"
    run(*arguments[1:])
    return Path(path.name).read_bytes()


def drawn_by_script(path):
    return runpy.run_path(ROOT / "docs" / f"make_{path.stem}_picture.py")["make"]().encode()


def structure(svg):
    """Return what a drawing consists of: how many elements of each kind, and its words; fonts may differ."""
    root = ET.fromstring(svg)
    tags = Counter(element.tag for element in root.iter())
    return tags, [element.text for element in root.iter() if element.text and element.text.strip()]


@pytest.mark.parametrize("path", sorted({path for _, _, path in pictures()}), ids=lambda path: path.name)
def test_the_pictures_of_the_documents_are_those_of_the_commands(path, tmp_path, monkeypatch):
    shutil.copytree(SAMPLES, tmp_path / "sample_models")
    monkeypatch.chdir(tmp_path)
    draw = drawn_by_command if path.name in commands() else drawn_by_script
    tags, words = structure(draw(path))
    shown_tags, shown_words = structure(path.read_bytes())
    assert tags == shown_tags
    assert len(words) == len(shown_words)
    for word, shown in zip(words, shown_words, strict=True):
        assert NUMBER.sub("#", word) == NUMBER.sub("#", shown)
        assert [*map(float, NUMBER.findall(word))] == pytest.approx([*map(float, NUMBER.findall(shown))], abs=0.011)


def test_every_picture_of_the_documents_is_shown():
    shown = {path for _, _, path in pictures()}
    assert shown == {*(ROOT / "docs").rglob("*.svg")}


# notebooks


def test_notebooks_show_small_tables_without_markup_from_files():
    model = gateprobe.read(TOKENS[0])
    trace = model.trace(np.load(TOKENS[1]))
    part = direction_of(HOSTILE, "forward", lstm_chunk(1, 2, 1).directions[0].signals)
    hostile = Trace(np.arange(1), (part,), {})
    for shown, words in (
        (model, ["tokens.keras", "bidirectional", "Bidirectional LSTM, 4 units"]),
        (trace, ["Trace of 4 samples", "bidirectional", "backward", "4×8×4", "9.4%"]),
        (trace["bidirectional"], ["bidirectional", "forward", "backward"]),
        (trace["bidirectional"].backward, ["bidirectional backward", "forget_gate"]),
        (hostile, ["Trace of 1 sample<", "&lt;script&gt;", "\\x1b[31m"]),
        (hostile[HOSTILE], ["&lt;script&gt;"]),
        (hostile[HOSTILE].forward, ["&lt;script&gt;"]),
    ):
        text = shown._repr_html_()
        page = Page()
        page.feed(text)
        assert set(page.tags) <= {"div", "strong", "table", "thead", "tbody", "tr", "th", "td"}
        assert all(word in text for word in words)
        assert "\x1b" not in text


def test_a_notebook_shows_a_verdict_from_the_worst_signal_on():
    from test_layout import DISAGREES

    text = DISAGREES._repr_html_()
    assert "disagrees" in text
    rows = re.findall(r"<tr><td>.*?</tr>", text)
    required = [float(re.findall(r"<td>([^<]*)</td>", row)[3]) for row in rows]
    assert required == sorted(required, reverse=True)
    assert len(rows) <= 5


def test_a_notebook_lists_a_dozen_directions_of_many():
    many = Trace(np.arange(1), tuple(lstm_chunk(1, 2, 1, layer=f"l{n}").directions[0] for n in range(20)), {})
    text = many._repr_html_()
    assert text.count("<tr><td>") == 12
    assert "and 8 more directions" in text


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_pictures_are_refused_where_v8_would_end_the_program(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("gateprobe.limits.system.free_address_space", lambda: 4 << 30)
    line = refused(*TOKENS, "-o", tmp_path / f"p.{suffix}")
    assert "not enough memory for drawing: 4096 MiB of address space are left, and 66560 are needed" in line
    assert list(tmp_path.iterdir()) == []
