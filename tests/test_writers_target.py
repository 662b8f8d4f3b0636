"""Results appear whole or not at all."""

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from traces import lstm_chunk

from gateprobe.errors import InputError, OutputError
from gateprobe.writers import Output, trace_formats, write

SUFFIXES = [kind.name for kind in trace_formats()]

PATH = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])

linux_only = pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")


@pytest.fixture(params=["nameless", "temporary name"])
def either_way(request, monkeypatch):
    """Run a test with and without files that have no name."""
    if request.param == "temporary name":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


def breaking_off(fault):
    yield lstm_chunk()
    raise fault


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("fault", [InputError("later"), KeyboardInterrupt()])
def test_a_fault_leaves_nothing(tmp_path, suffix, fault):
    with pytest.raises(type(fault)):
        write(breaking_off(fault), [Output(str(tmp_path / f"x.{suffix}"))], {})
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("either_way")
def test_a_fault_of_one_output_keeps_back_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("gateprobe.writers.archive.Archive.assemble", failing)
    with pytest.raises(OutputError, match=r"t\.npz: cannot write: No space left"):
        write([lstm_chunk()], [Output(str(tmp_path / "t.csv")), Output(str(tmp_path / "t.npz"))], {})
    assert not list(tmp_path.iterdir())


def failing(archive, texts):
    from gateprobe.writers.target import blamed

    with blamed(archive.target.name):
        raise OSError(28, os.strerror(28))


@pytest.mark.usefixtures("either_way")
def test_an_existing_file_is_kept_unless_forced(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("precious")
    with pytest.raises(OutputError, match=r"x\.csv: exists already; use overwrite=True"):
        write([lstm_chunk()], [Output(str(path))], {})
    with pytest.raises(InputError):
        write(breaking_off(InputError("later")), [Output(str(path), force=True)], {})
    assert path.read_text() == "precious"
    write([lstm_chunk()], [Output(str(path), force=True)], {})
    assert path.read_text().startswith("sample,")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("either_way")
def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "x.csv"

    def another_process():
        yield lstm_chunk()
        path.write_text("precious")

    with pytest.raises(OutputError, match="exists already"):
        write(another_process(), [Output(str(path))], {})
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("either_way")
def test_a_new_file_has_the_usual_permissions_and_links_stay(tmp_path):
    (tmp_path / "link.csv").symlink_to("real.csv")
    (tmp_path / "real.csv").write_text("old")
    write([lstm_chunk()], [Output(str(tmp_path / "link.csv"), force=True)], {})
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("sample,")
    usual = tmp_path / "usual"
    usual.touch()
    assert (tmp_path / "real.csv").stat().st_mode == usual.stat().st_mode


def test_places_that_cannot_hold_a_file_are_refused(tmp_path):
    chunk = [lstm_chunk()]
    with pytest.raises(OutputError, match="no such folder"):
        write(chunk, [Output(str(tmp_path / "no" / "x.csv"))], {})
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write(chunk, [Output(str(tmp_path / "d.csv"), force=True)], {})
    with pytest.raises(OutputError, match="named twice"):
        write(chunk, [Output("x.csv"), Output("x.csv")], {})
    with pytest.raises(OutputError, match="npz needs a regular file"):
        write(chunk, [Output(os.devnull, "npz")], {})


def test_a_device_is_written_to_and_stays_a_device():
    write([lstm_chunk()], [Output(os.devnull, "csv")], {})
    assert not Path(os.devnull).is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "arrow"])
def test_a_full_device_is_one_clear_error(suffix):
    with pytest.raises(OutputError, match="/dev/full: cannot write: No space left on device"):
        write([lstm_chunk(200, 20, 8)], [Output("/dev/full", suffix)], {})


CHILD = """
import sys
from gateprobe.errors import GateprobeError
from gateprobe.writers import Output, write
from traces import lstm_chunk
{before}
def chunks():
    for k in range(10**9 if {endless} else 60):
        yield lstm_chunk(100, 20, 16, first=100 * k)
        if k == 40 and {endless}:
            print("running", file=sys.stderr, flush=True)
try:
    write(chunks(), [Output(sys.argv[1])], {{}})
except GateprobeError as error:
    sys.exit(str(error))
"""


def child(path, *, before="", endless=False):
    code = CHILD.format(before=before, endless=endless)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])]),
    }
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE, text=True, env=environment)


@linux_only
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_nothing(tmp_path, suffix):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))"
    process = child(tmp_path / f"x.{suffix}", before=limit)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 1
    assert message.strip().endswith(f"x.{suffix}: cannot write: File too large")
    assert not list(tmp_path.iterdir())


@linux_only
@pytest.mark.parametrize("suffix", ["csv", "npz", "h5", "parquet"])
def test_even_a_killed_process_leaves_nothing(tmp_path, suffix):
    process = child(tmp_path / f"x.{suffix}", endless=True)
    assert process.stderr.readline() == "running\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_replaces_a_file_has_its_permissions(tmp_path, suffix, mode):
    path = tmp_path / f"x.{suffix}"
    path.write_text("old")
    path.chmod(mode)

    def watched():
        yield lstm_chunk()
        for other in tmp_path.iterdir():  # nor are they wider before, under a temporary name
            assert other.stat().st_mode & 0o777 & ~mode & 0o077 == 0

    write(watched(), [Output(str(path), force=True)], {})
    assert path.read_bytes() != b"old"
    assert path.stat().st_mode & 0o7777 == mode


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_what_replaces_a_file_has_its_owner(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("old")
    os.chown(path, 1234, 2345)
    path.chmod(0o640)
    write([lstm_chunk()], [Output(str(path), force=True)], {})
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1234, 2345, 0o640)


def test_a_group_that_cannot_be_kept_gets_nothing(tmp_path, monkeypatch):
    def denied(*arguments):
        raise PermissionError(1, "denied")

    path = tmp_path / "x.csv"
    path.write_text("old")
    path.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(path, 0, 2345)
        monkeypatch.setattr(os, "fchown", denied)
        write([lstm_chunk()], [Output(str(path), force=True)], {})
        assert path.stat().st_mode & 0o777 == 0o604


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="needs extended attributes")
def test_what_replaces_a_file_has_its_access_list(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("old")
    entries = [(1, 6, 0xFFFFFFFF), (2, 4, 1234), (4, 0, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", access)
    except OSError:
        pytest.skip("the file system has no access lists")
    write([lstm_chunk()], [Output(str(path), force=True)], {})
    assert os.getxattr(path, "system.posix_acl_access") == access


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
@pytest.mark.parametrize("place", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_a_descriptor_is_written_to_and_its_file_stays(tmp_path, place):
    with (tmp_path / "x").open("w+b") as file:
        file.write(b"before\n")
        file.flush()
        write([lstm_chunk()], [Output(place.format(file.fileno()), "csv")], {})
        assert os.fstat(file.fileno()).st_ino == (tmp_path / "x").stat().st_ino
    assert (tmp_path / "x").read_bytes().startswith(b"before\nsample,")


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_hdf5_lets_go_of_its_file(tmp_path):
    """Python 3.13 reports what fails while an object is deleted."""
    code = (
        "import sys\nfrom gateprobe.writers import Output, write, write_predictions\nfrom traces import lstm_chunk\n"
        "import numpy as np\nwrite([lstm_chunk()], [Output(sys.argv[1])], {})\n"
        "write_predictions([(np.zeros((2, 2)),)], ('a',), [Output(sys.argv[2])], {})\n"
    )
    environment = {**os.environ, "PYTHONPATH": PATH}
    names = [str(tmp_path / name) for name in ("a.h5", "b.h5")]
    command = [sys.executable, "-X", "dev", "-c", code, *names]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
