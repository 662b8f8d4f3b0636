"""Docs cannot drift: every command in them runs, and prints what they show."""

import functools
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import gateprobe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL_PAGES = [*PAGES, *(ROOT / f"{name}.md" for name in ("SECURITY", "CHANGELOG", "CONTRIBUTING"))]
NEEDS_KERAS = ("gateprobe verify", "import keras", "import gateprobe.verify", "gateprobe.verify(")
QUIET = pytest.mark.filterwarnings("ignore")  # of Keras and TensorFlow
SCREEN = {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}


PRINTS = r"^```\n(?:\n```text\n(.*?)^```$)?"
"""The end of a block, and the block of text right behind it: what a Python block prints."""


def blocks(language):
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = re.findall(rf"^(<!-- .*\n)?```{language}\n(.*?){PRINTS}", text, re.DOTALL | re.MULTILINE)
        for number, (comment, *block) in enumerate(found):
            if comment.startswith("<!-- recipe:"):  # test_recipes.py follows them
                continue
            marks = [pytest.mark.oracle, QUIET] if needs_keras(block[0]) else []
            marks += [pytest.mark.tools] if re.search(r"^> (mlr|Rscript) ", block[0], re.MULTILINE) else []
            yield pytest.param(*block, id=f"{page.name}-{number}", marks=marks)


def needs_keras(text):
    return any(word in text for word in NEEDS_KERAS)


def sessions(text):
    """Yield (command, expected lines) of a console block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *expected = part.rstrip("\n").split("\n")
        while command.endswith(("\\", "|")):
            command = command.removesuffix("\\") + expected.pop(0).removeprefix("> ")
        yield command, expected


@pytest.fixture
def workplace(tmp_path):
    """A folder with the samples, as in a clone."""
    shutil.copytree(ROOT / "sample_models", tmp_path / "sample_models")
    return tmp_path


def run(command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **SCREEN}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, check=False, timeout=600, **pipes)
    return done.returncode, done.stdout.rstrip("\n").split("\n")


def is_plain(command):
    """Whether a command is the program with its arguments, and at most a file for its output: no work for a shell."""
    return command.startswith("gateprobe ") and not re.search(r"[|;&<`$*]", command)


def run_here(command):
    """Run one command in this process, where everything is imported once."""
    from gateprobe.cli import main

    command, _, file = command.partition(" > ")
    program, *arguments = shlex.split(command)
    assert program == "gateprobe"
    done = CliRunner(env=SCREEN).invoke(main, arguments, prog_name=program)
    if file:
        Path(file).write_text(done.stdout, encoding="utf-8")
    return done.exit_code, done.output.rstrip("\n").split("\n")


NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")


def matches(shown, printed):
    """Whether printed lines are the shown ones; ``...`` stands for any lines, and a BLAS may round differently."""
    texts = ["\n".join(line.rstrip() for line in lines) for lines in (shown, printed)]
    pattern = re.escape(NUMBER.sub("#", texts[0])).replace(r"\.\.\.", "(.|\n)*?")
    if not re.fullmatch(pattern, NUMBER.sub("#", texts[1])):
        return False
    shown_numbers, numbers = (NUMBER.findall(text) for text in texts)
    return "..." in texts[0] or all(map(near, numbers, shown_numbers))


def near(number, shown):
    """Whether a number is the shown one, which may be rounded to three digits or more behind the point."""
    digits = len(shown.partition(".")[2])
    rounding = 1.01 * 10**-digits if 3 <= digits <= 6 and "e" not in shown else 1e-6
    return float(number) == pytest.approx(float(shown), rel=1e-4, abs=rounding)


@pytest.mark.parametrize(("text", "_"), list(blocks("console")))
def test_every_command_prints_what_the_docs_show(text, _, workplace, request, monkeypatch):
    monkeypatch.chdir(workplace)
    for command, expected in sessions(text):
        if needs_keras(command):
            request.getfixturevalue("in_process")
        status, printed = run_here(command) if is_plain(command) else run(command, workplace)
        assert "Traceback" not in "\n".join(printed)
        if expected:
            assert matches(expected, printed), f"$ {command}\n" + "\n".join(printed)
        else:
            assert status == 0, f"$ {command}\n" + "\n".join(printed)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # open(...).read() is short, and read on a page
@pytest.mark.parametrize(("text", "expected"), list(blocks("python")))
def test_every_python_example_prints_what_the_docs_show(text, expected, workplace, request, monkeypatch, capsys):
    if needs_keras(text):
        request.getfixturevalue("in_process")
    if "xarray" in text:
        pytest.importorskip("xarray")
    monkeypatch.chdir(workplace)
    exec(compile(text, "docs", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out.rstrip("\n").split("\n")
    assert not expected or matches(expected.rstrip("\n").split("\n"), printed), "\n".join(printed)


def test_the_support_table_is_the_registry():
    from support_table import table

    assert table() in (ROOT / "docs" / "support.md").read_text(encoding="utf-8"), "run: python tests/support_table.py"


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_links_to_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in ALL_PAGES[1:] if f"{page.relative_to(ROOT)})" not in text] == []


RIDDLES = r"\b(some|no|any)body\b|\bwho(ever|m)\b|without a word|starts? anew|goes on where"


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_pages_call_users_and_programs_by_name(page):
    found = re.finditer(RIDDLES, page.read_text(encoding="utf-8"), re.IGNORECASE)
    assert [match.group() for match in found] == []


EQUATION = re.compile(r"^(\w+) +([ifgoch])_t = (.*?)   +(.*)$", re.MULTILINE)
PYTHON = {"σ": "sigmoid", "⊙": "*", "_{t-1}": "_before", "_t W": "_t @ W", "_before U": "_before @ U"}
BLOCKS = {"first": 0, "second": 1, "third": 2, "fourth": 3}


def lstm_weights(path):
    """Return kernel, recurrent kernel and bias as they lie in a ``.keras`` file."""
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        return [file[f"layers/lstm/cell/vars/{number}"][()] for number in range(3)]


def test_the_equations_of_the_readme_give_the_trace():
    """Each line is run as it stands there, on the columns of the weights that it names."""
    lines = EQUATION.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    weights = lstm_weights(ROOT / "sample_models" / "brackets.keras")
    names = {
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "tanh": np.tanh,
        "c_before": np.zeros(2),
        "h_before": np.zeros(2),
    }
    for _, letter, _, note in lines[:4]:
        for name, weight in zip("WUb", weights, strict=True):
            names[f"{name}_{letter}"] = np.split(weight, 4, axis=-1)[BLOCKS[note.split()[0]]]
    x = np.load(ROOT / "sample_models" / "brackets.npy")[:1]
    trace = gateprobe.read(ROOT / "sample_models" / "brackets.keras").trace(x)["lstm"].forward
    for t, names["x_t"] in enumerate(x[0]):
        for signal, letter, equation, _ in lines:
            code = functools.reduce(lambda text, pair: text.replace(*pair), PYTHON.items(), equation)
            names[f"{letter}_t"] = eval(code, names)
            assert names[f"{letter}_t"] == pytest.approx(getattr(trace, signal)[0, t], abs=1e-5), (signal, t)
        names |= {"c_before": names["c_t"], "h_before": names["h_t"]}
    assert sorted(signal for signal, *_ in lines) == sorted(trace.signals)


def test_every_schema_is_listed():
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    schemas = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs" / "schemas").iterdir()}
    assert schemas == set(re.findall(r"\]\((schemas/[^)]+)\)", text))
