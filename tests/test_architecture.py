"""The straight line read → plan → run → write: what each part may import, and what an import may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gateprobe"
BASE = {"errors", "graph"}
ROLES = BASE | {"semantics", "activations"}
MAY_IMPORT = {
    "errors": set(),
    "graph": {"errors"},
    "remote": BASE,
    "places": BASE | {"remote"},
    "memory": BASE,
    "readers": BASE | {"readers", "remote", "expansion"},
    "room": BASE,
    "expansion": set(),
    "semantics": BASE,
    "activations": BASE | {"semantics"},
    "kernels": BASE | {"kernels", "room"},
    "layers": ROLES | {"kernels", "layers", "room"},
    "groups": BASE,
    "calls": BASE | {"layers"},
    "contested": BASE | {"semantics"},
    "unclaimed": BASE | {"layers"},
    "plan": ROLES | {"layers", "calls", "contested"},
    "array_files": BASE | {"expansion"},
    "tables": BASE | {"memory", "array_files"},
    "input_files": BASE | {"array_files", "tables", "remote"},
    "samples": BASE | {"array_files", "input_files", "remote"},
    "chunk": BASE,
    "threads": BASE,
    "selection": BASE | {"chunk"},
    "batch_size": BASE | {"kernels", "layers"},
    "run": BASE | {"kernels", "room", "layers", "plan", "chunk", "batch_size", "threads"},
    "writers": BASE | {"remote", "places", "memory", "chunk", "writers"},
    "trace": BASE | {"chunk", "writers"},
    "model": ROLES
    | {
        "layers",
        "readers",
        "groups",
        "calls",
        "plan",
        "unclaimed",
        "samples",
        "selection",
        "chunk",
        "trace",
        "run",
        "batch_size",
    },
    "scale": BASE
    | {
        "remote",
        "kernels",
        "groups",
        "input_files",
        "samples",
        "selection",
        "chunk",
        "run",
        "writers",
        "model",
        "scale",
    },
    "verify": ROLES
    | {
        "layers",
        "plan",
        "samples",
        "selection",
        "chunk",
        "run",
        "model",
        "verify",
        "readers",
        "groups",
        "calls",
        "batch_size",
    },
}
THIRD_PARTY = {
    "errors": set(),
    "graph": {"numpy"},
    "kernels": {"numpy", "numba", "threadpoolctl"},
    "remote": {"fsspec"},
    "scale": {"numpy", "distributed", "zarr"},
    "readers": {"numpy", "h5py", "tensorflow"},
    "writers": {"numpy", "h5py", "polars", "xarray"},
    "cli": {"numpy", "click", "rich", "polars"},
    "verify": {"numpy", "tensorflow", "keras", "tf_keras"},
    "samples": {"numpy", "polars"},
    "tables": {"numpy", "polars"},
    "chunk": {"numpy"},
    "trace": set(),
    "threads": set(),
}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part != "__init__":
            yield pytest.param(path, part, id=str(path.relative_to(PACKAGE)))


def imports(path):
    """Yield the absolute names that a file imports, inside functions too, but not for the type checker alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    skipped = {id(inner) for node in for_types for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (
                (f"gateprobe.{alias.name}" for alias in node.names) if node.module == "gateprobe" else [node.module]
            )


@pytest.mark.parametrize(("path", "part"), list(modules()))
def test_a_module_imports_only_from_stages_before_its_own(path, part):
    if part == "cli":
        return
    for name in imports(path):
        root, *inner = name.split(".")
        if root == "gateprobe" and inner:
            assert inner[0] in MAY_IMPORT[part], f"{path} must not import {name}"
        elif root not in sys.stdlib_module_names and root != "gateprobe":
            assert root in THIRD_PARTY.get(part, {"numpy"}), f"{path} must not import {name}"


def loaded_by(code):
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import gateprobe") & {"numpy", "h5py", "polars", "click", "rich", "tensorflow", "keras"}


def test_reading_and_tracing_load_no_framework():
    sample = PACKAGE.parent / "sample_models" / "keras2.h5"
    code = f"import gateprobe, numpy; gateprobe.read({str(sample)!r}).trace(numpy.zeros((1, 6, 2), 'f4'))"
    assert not loaded_by(code) & {"tensorflow", "keras", "tf_keras", "polars", "pyarrow", "click", "rich", "scipy"}
