"""All checks: ``nox`` runs them, ``nox -s tests-3.13`` one of them, ``nox -l`` lists them.

A Python that is not on the machine is skipped and named.
"""

import tomllib
import zipfile
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
ALL = "not corpus and not benchmark and not browser and not backends and not tools"
CORE = f"{ALL} and not oracle and not slow"

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "keras", "dist", "installed", "extras", "lowest", "docs"]

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = sorted(PROJECT["optional-dependencies"].keys() - {"dev", "docs"})  # these two have sessions of their own
INSTALLED = str(Path("tests", "installed.py").resolve())


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the core tests: all that need no TensorFlow."""
    session.install("-e", ".[fast,dev]")
    session.run("pytest", *(session.posargs or ["-n", "auto", "-m", CORE]))


@nox.session(python=PYTHONS[:-1])
def keras(session: nox.Session) -> None:
    """Run everything, with the real Keras; TensorFlow has no wheels for Python 3.14 yet."""
    session.install("-e", ".[fast,keras,dev]")
    session.run("pytest", *(session.posargs or ["-n", "auto", "-m", ALL]))


@nox.session(python=PYTHONS[:-1])
def backends(session: nox.Session) -> None:
    """Verify with Keras 3 on JAX and on PyTorch, without TensorFlow."""
    session.install("-e", ".[fast,keras-jax,keras-torch,dev]")
    session.run("pytest", "tests/verify/test_backends.py", *(session.posargs or ["-m", "backends or not backends"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install("ruff>=0.11")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install("-e", ".[dev]")
    session.run("mypy")


def built(session: nox.Session) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it; return both."""
    folder = Path(session.create_tmp()).resolve() / "dist"
    for old in folder.glob("*"):
        old.unlink()
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(folder), silent=True)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@nox.session
def dist(session: nox.Session) -> None:
    """Build sdist and wheel; the clone builds the same wheel as the sdist, and PyPI would take both."""
    sdist, wheel = built(session)
    session.install("twine>=6")
    session.run("twine", "check", "--strict", str(sdist), str(wheel))
    again = sdist.parent / "from_the_clone"
    session.run("python", "-m", "build", "--wheel", "--outdir", str(again), silent=True)
    (other,) = again.iterdir()
    if other.name != wheel.name or contents(other) != contents(wheel):
        session.error("the sdist builds another wheel than the clone")
    other.unlink()
    again.rmdir()
    session.install("cffconvert>=2")
    session.run("cffconvert", "--validate", "-i", "CITATION.cff")


@nox.session(python=PYTHONS)
def installed(session: nox.Session) -> None:
    """Install the wheel, and then the sdist, in a bare environment, and do the README's main job."""
    for package in built(session)[::-1]:
        session.run("uv", "pip", "uninstall", "-q", "gateprobe", external=True, success_codes=[0, 1], silent=True)
        session.install(str(package))
        session.run("python", INSTALLED)


@nox.session(python=[PYTHONS[0], PYTHONS[-2]])
@nox.parametrize("extra", EXTRAS)
def extras(session: nox.Session, extra: str) -> None:
    """Install one extra and nothing else, and do what it is for."""
    session.install(f".[{extra}]")
    session.run("python", INSTALLED, extra)


@nox.session(python=PYTHONS[0], venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Run the core tests with the oldest versions that pyproject.toml allows, and `verify` with the oldest Keras."""
    session.install("--resolution", "lowest-direct", "-e", ".[fast,pandas,dev]")
    session.run("pytest", *(session.posargs or ["-n", "auto", "-m", CORE]))
    session.install("--resolution", "lowest-direct", "-e", ".[keras]")
    session.run("python", INSTALLED, "keras")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into site/, strictly: a broken link or a request to the network is an error."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})
