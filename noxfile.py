"""What must hold on every supported Python: ``nox`` runs it all, ``nox -s tests-3.13`` one session.

A Python that is not on the machine is skipped and named.
"""

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
ALL = "not corpus and not benchmark and not browser and not tools"
CORE = f"{ALL} and not oracle and not slow"

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "lint", "types"]


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


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into site/, strictly: a broken link or a request to the network is an error."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})
