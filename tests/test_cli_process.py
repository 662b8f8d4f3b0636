"""The program as a process of its own: imports, pipes, signals."""

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from gateprobe.cli import COMMANDS, main
from gateprobe.cli.completion import equip
from gateprobe.opened_model import open_model

ROOT = Path(__file__).parents[1]
MODEL, INPUT = str(ROOT / "sample_models" / "keras2.h5"), str(ROOT / "sample_models" / "keras2.npy")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
PROGRAM = "from gateprobe.cli import main; main(prog_name='gateprobe')"


def start(*arguments, before="", **streams):
    command = [sys.executable, "-c", f"{before}\n{PROGRAM}", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT, **streams)


def finish(process, timeout=60):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err.decode()


@pytest.fixture
def many(tmp_path):
    """An input that takes a while."""
    path = tmp_path / "many.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (10**6, 6, 2)).flush()
    return path


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["dump", "-h"], ["inspect", "-h"], ["predict", "-h"]])
def test_help_loads_nothing_heavy(arguments):
    heavy = {"numpy", "h5py", "polars", "rich", "keras", "tensorflow"}
    code = "import sys\nfrom gateprobe.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=ENVIRONMENT, check=True
    )
    assert not heavy & set(done.stderr.split())
    assert done.stdout


def test_a_closed_pipe_is_quiet(many):
    for form in ("csv", "jsonl", "arrow"):
        process = start("dump", MODEL, many, "--format", form, stdout=subprocess.PIPE)
        assert process.stdout.read(10)
        process.stdout.close()
        assert finish(process)[::2] == (0, "")


def test_a_closed_pipe_is_quiet_for_what_people_read():
    reading, writing = os.pipe()
    os.close(reading)
    process = start("inspect", MODEL, stdout=writing)
    os.close(writing)
    assert finish(process)[::2] == (0, "")


def test_the_first_rows_come_before_the_run_is_done(many):
    process = start("dump", MODEL, many, stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"sample,layer,")
    assert process.poll() is None
    process.kill()
    finish(process)


WRITTEN = ("csv", "npz", "h5", "parquet")
TOGETHER = [pytest.param(WRITTEN, id="all")]  # one process for all formats, and one for each where time is no matter
ALONE = [pytest.param((suffix,), id=suffix, marks=pytest.mark.slow) for suffix in WRITTEN]


def outputs_in(folder, suffixes):
    """Return the options that write each format, and standard output beside them."""
    folder.mkdir()
    return [word for suffix in suffixes for word in ("-o", folder / f"x.{suffix}")] + ["-o", "-"]


NAMED = "import os; vars(os).pop('O_TMPFILE', None)"  # as where files cannot be without a name


@pytest.mark.parametrize("before", ["", NAMED], ids=["nameless", "temporary name"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("suffixes", TOGETHER + ALONE)
def test_an_interruption_is_one_line_and_leaves_nothing(tmp_path, many, suffixes, number, status, before):
    folder = tmp_path / "out"
    outputs = outputs_in(folder, suffixes)
    process = start("dump", MODEL, many, *outputs, before=before, stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"sample,")
    process.send_signal(number)
    names = ", ".join(str(folder / f"x.{suffix}") for suffix in suffixes)
    told = f"interrupted; not written: {names}; -o DIR/ writes part by part and resumes"
    assert finish(process)[::2] == (status, f"gateprobe: {told}\n")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("suffixes", TOGETHER + ALONE)
def test_an_interruption_in_the_middle_of_a_sequence_leaves_nothing(tmp_path, suffixes):
    source, folder = tmp_path / "long.npy", tmp_path / "out"
    np.lib.format.open_memmap(source, "w+", np.float32, (1, 10**7, 3)).flush()  # takes no room on the disk
    model = ROOT / "sample_models" / "brackets.keras"
    process = start("dump", model, source, *outputs_in(folder, suffixes), stdout=subprocess.PIPE)
    for _ in range(10_000):
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert status == 130
    assert err.startswith(f"gateprobe: interrupted; not written: {folder}")
    assert err.count("\n") == 1
    assert not list(folder.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["dump", MODEL, INPUT], ["inspect", MODEL], ["inspect", MODEL, "--json"]])
def test_a_full_standard_output_is_one_line(arguments):
    with Path("/dev/full").open("wb") as full:
        status, _, err = finish(start(*arguments, stdout=full))
    assert status == 2
    assert err.count("\n") == 1
    assert "No space left on device" in err


def test_a_closed_standard_output_is_refused():
    code = "import os, sys; os.close(1); sys.stdout = None"
    status, _, err = finish(start("dump", MODEL, INPUT, before=code))
    assert (status, err) == (2, f"gateprobe: {MODEL}: standard output is closed; use -o FILE\n")


SHELLS = {  # how a shell's script gives the words, and what it gets back for a value
    "bash": (lambda words: (" ".join(words), str(len(words) - 1)), "{kind},{value}"),
    "zsh": (lambda words: (" ".join(words), str(len(words) - 1)), "{kind}\n{value}\n_"),
    "fish": (lambda words: (" ".join(words), words[-1]), "{kind},{value}"),
}
TOKENS = ROOT / "sample_models" / "tokens.keras"


def completed(shell, *words):
    """Return what completes the last word, and the form of an answer."""
    split, form = SHELLS[shell]
    line, current = split(["gateprobe", *map(str, words)])
    asked = {"_GATEPROBE_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": current}
    done = CliRunner(env=asked).invoke(main, prog_name="gateprobe")
    assert not done.stderr
    return done.stdout.rstrip("\n"), form


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("words", "kind", "values"),
    [
        (["dump", "--la"], "plain", ["--layer", "--layout"]),
        (["inspect", "mod"], "file", ["mod"]),
        (["dump", TOKENS, "inp"], "file", ["inp"]),
        (["dump", TOKENS, "tokens=inp"], "file", ["tokens=inp"]),
        (["verify", TOKENS, "x.npy", "y"], "file", ["y"]),
        (["dump", TOKENS, "x.npy", "-o", "tr"], "file", ["tr"]),
        (["dump", "w.h5", "--architecture", "a"], "file", ["a"]),
        (["verify", TOKENS, "--junit", "r"], "file", ["r"]),
        (["dump", TOKENS, "--layer", "b"], "plain", ["bidirectional"]),
        (["dump", TOKENS, "x.npy", "--layer", "x"], "plain", []),
        (["dump", "no.keras", "--layer", "b"], "plain", []),
        (["dump", TOKENS, "--feed", "b"], "plain", ["bidirectional="]),
        (["dump", TOKENS, "--feed", "bidirectional=x"], "file", ["bidirectional=x"]),
        (["dump", TOKENS, "--signal", "f,c"], "plain", ["f,candidate", "f,cell_state"]),
    ],
    ids=lambda value: " ".join(Path(word).name for word in value) if isinstance(value, list) else None,
)
def test_shells_complete(shell, words, kind, values):
    found, form = completed(shell, *words)
    if words[-1].startswith("--"):  # with their help texts
        assert all(value in found for value in values)
    else:
        assert found == "\n".join(form.format(kind=kind, value=value) for value in values)


def test_whatever_takes_a_file_completes_files():
    """Every argument, and every option whose help shows FILE."""
    for name in COMMANDS:
        command = main.get_command(None, name)
        equip(command)
        for parameter in command.params:
            if isinstance(parameter, click.Argument) or "FILE" in str(parameter.metavar):
                (item,) = parameter.type.shell_complete(click.Context(command), parameter, "lstm=x")
                assert item.type == "file", parameter.name


def test_a_name_in_a_file_never_gets_onto_the_command_line_unless_it_is_harmless(tmp_path):
    path = tmp_path / "evil.keras"
    for name in ("$(touch x)", "a;b", "a b", "-x", "a\\u001b[2J", "a\\nfile,b", "`b`", "*"):
        with zipfile.ZipFile(TOKENS) as good, zipfile.ZipFile(path, "w") as evil:
            for member in good.namelist():
                data = good.read(member)
                evil.writestr(member, data.replace(b'"bidirectional"', f'"{name}"'.encode()))
        assert open_model(path).recurrent[0].path != "bidirectional"
        for shell in SHELLS:
            assert completed(shell, "dump", path, "--layer", "")[0] == ""


@pytest.mark.parametrize(
    ("shell", "changed"), [("bash", "nospace"), ("zsh", "compset -P 1 '*='"), ("fish", 'string split -m 1 ","')]
)
def test_the_script_of_a_shell_is_ours(shell, changed):
    done = CliRunner(env={"_GATEPROBE_COMPLETE": f"{shell}_source"}).invoke(main, prog_name="gateprobe")
    assert done.exit_code == 0
    assert changed in done.stdout
    assert shell != "fish" or "__fish_complete_path (string replace" in done.stdout


def test_shell_completion_knows_commands_and_options():
    words = {"_GATEPROBE_COMPLETE": "bash_complete", "COMP_WORDS": "gateprobe dump --la", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env={**ENVIRONMENT, **words}, check=False
    )
    assert {"plain,--layer", "plain,--layout"} <= set(done.stdout.split())


def shell(command, **how):
    """Run a command of a shell in which ``gateprobe`` is the program."""
    program = f'gateprobe() {{ "{sys.executable}" -c "{PROGRAM}" "$@"; }}\n'
    done = subprocess.run(["bash", "-c", program + command], capture_output=True, env=ENVIRONMENT, check=False, **how)
    return done.returncode, done.stdout, done.stderr.decode()


bash_only = pytest.mark.skipif(not Path("/bin/bash").exists(), reason="needs bash")


@bash_only
@pytest.mark.parametrize("command", ["dump", pytest.param("predict", marks=pytest.mark.slow)])
def test_closed_standard_streams(command, tmp_path):
    status, _, err = shell(f"gateprobe {command} '{MODEL}' - <&-")
    assert (status, err) == (2, "gateprobe: standard input: is closed; name a file\n")
    status, _, err = shell(f"gateprobe {command} '{MODEL}' '{INPUT}' >&-")
    assert (status, err.count("\n"), "standard output is closed" in err) == (2, 1, True)
    expected = shell(f"gateprobe {command} '{MODEL}' '{INPUT}'")[1]
    assert shell(f"gateprobe {command} '{MODEL}' '{INPUT}' 2>&-")[:2] == (0, expected)
    whole = tmp_path / "x.csv"
    assert shell(f"gateprobe {command} '{MODEL}' '{INPUT}' -o '{whole}' <&- >&- 2>&-") == (0, b"", "")
    assert whole.read_bytes() == expected


@bash_only
@pytest.mark.parametrize(
    "name",
    ["-", "/dev/stdout", *(pytest.param(name, marks=pytest.mark.slow) for name in ("/dev/fd/1", "/proc/self/fd/1"))],
)
def test_standard_output_by_any_name(name, tmp_path):
    many = tmp_path / "many.npy"
    np.save(many, np.zeros((5_000, 6, 2), np.float32))
    dump = f"gateprobe dump '{MODEL}'"
    assert shell(f"{dump} '{many}' -o {name} --format csv | head -1")[0::2] == (0, "")
    expected = shell(f"{dump} '{INPUT}'")[1]
    assert shell(f"{dump} '{INPUT}' -o {name} --format csv | cat") == (0, expected, "")
    there = tmp_path / "there"
    there.write_text("before\n")
    assert shell(f"{dump} '{INPUT}' -o {name} --format csv >> '{there}'") == (0, b"", "")
    assert there.read_bytes() == b"before\n" + expected


@bash_only
@pytest.mark.parametrize("command", ["dump {m} {x}", "predict {m} {x}", "inspect {m}", "dump {m} {x} -o /dev/stdout"])
def test_a_source_is_not_appended_to(command, tmp_path):
    for name in ("m.h5", "x.npy"):
        if name == "x.npy" and "{x}" not in command:
            continue
        (tmp_path / "m.h5").write_bytes(Path(MODEL).read_bytes())
        (tmp_path / "x.npy").write_bytes(Path(INPUT).read_bytes())
        before = (tmp_path / name).read_bytes()
        words = command.format(m="m.h5", x="x.npy")
        status, _, err = shell(f"gateprobe {words} >> {name}", cwd=tmp_path)
        assert (status, err.count("\n"), "is also an input" in err) == (2, 1, True), err
        assert (tmp_path / name).read_bytes() == before


@bash_only
def test_an_input_from_standard_input_is_not_written_over(tmp_path):
    (tmp_path / "x.npy").write_bytes(Path(INPUT).read_bytes())
    status, _, err = shell(f"gateprobe predict '{MODEL}' - -o x.npy --force < x.npy", cwd=tmp_path)
    assert (status, "x.npy: is also an input" in err) == (2, True), err
    assert (tmp_path / "x.npy").read_bytes() == Path(INPUT).read_bytes()


@bash_only
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of address space")
@pytest.mark.parametrize("kilobytes", [300_000, 500_000, 1_000_000])
@pytest.mark.parametrize("target", ["-o x.parquet", "-o x.npz"])
def test_little_memory_is_one_line(kilobytes, target, tmp_path):
    status, _, err = shell(f"ulimit -v {kilobytes}; gateprobe dump '{MODEL}' '{INPUT}' {target}", cwd=tmp_path)
    lines = [line for line in err.splitlines() if not line.startswith("OpenBLAS")]
    assert (status, len(lines)) in ((2, 1), (0, 0)), err
    assert "Traceback" not in err
    if status:
        assert "not enough memory" in err, err
        assert not list(tmp_path.iterdir())
