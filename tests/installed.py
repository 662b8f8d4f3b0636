"""What must work where gateprobe is installed, run by the Python of that environment: ``python installed.py [EXTRA]``.

It uses the standard library alone, from a folder of its own, so that nothing of the clone is imported. Without a name
it does the main job of the README; with the name of an extra, what that extra is for.
"""

import contextlib
import csv
import pathlib
import shutil
import subprocess
import sys
import tempfile

SAMPLES = pathlib.Path(__file__).parents[1] / "sample_models"
BRACKETS = ("brackets.keras", "brackets.npy")
ROW = {"input_gate": 0.159475, "forget_gate": 0.784168, "cell_state": 0.155959, "hidden_state": 0.022660}
"""Of the first sample, timestep and unit, as the README shows it."""
TRACE = "import gateprobe, numpy; trace = gateprobe.read('brackets.keras').trace(numpy.load('brackets.npy')); "
YAML = "from gateprobe.readers.safe_yaml import loads; assert loads(b'a: !!python/tuple [1]', 'x') == {'a': [1]}"
FAR = (
    "import fsspec, pathlib; "
    "[fsspec.filesystem('memory').pipe('/in/' + name, pathlib.Path(name).read_bytes()) for name in {names!r}]; "
    "from gateprobe.cli import main; "
    "main(['dump', 'memory://in/brackets.keras', 'memory://in/brackets.npy', '-o', 'far.csv', '-q'])"
)


def python(code):
    """Run Python code."""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def gateprobe(*words, status=0):
    """Run the program, and return what it says on stderr."""
    program = pathlib.Path(sys.executable).with_name("gateprobe")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return done.stderr


def main_job():
    """Do what the README begins with."""
    gateprobe("--version")
    for name in sorted(path.name for path in SAMPLES.glob("*.[hk]*")):
        gateprobe("inspect", name)
    gateprobe("dump", *BRACKETS, "-o", "brackets.csv", "-o", "brackets.npz", "-o", "brackets.parquet")
    rows = list(csv.DictReader(pathlib.Path("brackets.csv").read_text().splitlines()))
    assert len(rows) == 3 * 12 * 2, len(rows)
    for name, value in ROW.items():
        assert abs(float(rows[0][name]) - value) < 1e-5, (name, rows[0][name])
    gateprobe("plot", *BRACKETS)
    gateprobe("predict", *BRACKETS)


def missing_extra():
    """Without an extra, one line says which one."""
    for words, extra in (
        (("plot", *BRACKETS, "-o", "x.svg"), "plot"),
        (("dump", *BRACKETS, "-o", "x.zarr"), "zarr"),
        (("dump", *BRACKETS, "-o", "parts/", "--workers", "2"), "dask"),
        (("verify", *BRACKETS), "keras"),
    ):
        told = gateprobe(*words, status=2)
        assert f"gateprobe[{extra}]" in told, told
        assert told.count("\n") == 1, told


EXTRAS = {
    "": lambda: (main_job(), missing_extra()),
    "fast": lambda: python(TRACE.replace("'))", "'), kernel='compiled')")),
    "remote": lambda: python(FAR.format(names=BRACKETS)),
    "zarr": lambda: gateprobe("dump", *BRACKETS, "-o", "x.zarr"),
    "dask": lambda: gateprobe("dump", *BRACKETS, "-o", "parts/", "--workers", "2"),
    "pandas": lambda: python(TRACE + "assert len(trace.to_pandas()) == 72"),
    "plot": lambda: [gateprobe("plot", *BRACKETS, "-o", f"x.{suffix}") for suffix in ("svg", "png", "pdf", "html")],
    "xarray": lambda: python(TRACE + "assert trace.to_xarray()['lstm/forward'].sizes['unit'] == 2"),
    "yaml": lambda: python(YAML),
    "keras": lambda: gateprobe("verify", *BRACKETS),
    "keras-jax": lambda: gateprobe("verify", *BRACKETS, "--backend", "jax"),
    "keras-torch": lambda: gateprobe("verify", *BRACKETS, "--backend", "torch"),
    "browser": lambda: python("import playwright.sync_api"),
}
"""Each extra and what it is for."""


def main(extra=""):
    """Do it in a folder of its own, on copies of the samples."""
    with tempfile.TemporaryDirectory() as folder:
        for path in SAMPLES.iterdir():
            if path.is_file():
                shutil.copy(path, folder)
        with contextlib.chdir(folder):
            EXTRAS[extra]()
    print(f"{extra or 'the main job'}: fine on Python {sys.version.split()[0]}")  # noqa: T201 - a script


if __name__ == "__main__":
    main(*sys.argv[1:])
