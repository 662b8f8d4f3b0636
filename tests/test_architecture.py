"""The straight line read → plan → run → write: what each part may import, and what an import may cost."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gateprobe"
BASE = {"errors", "graph", "guesses"}
ROLES = BASE | {"semantics", "activations", "limits"}
LAYERS = {"layers", "layers/binding", "layers/recurrent", "layers/recurrent/kernels", "layers/operations"}
REPLAYED = ROLES | LAYERS | {"readers", "inputs", "traces", "replay", "opened_model", "vocabulary", "model"}
MAY_IMPORT = {
    "errors": set(),
    "graph": {"errors"},
    "guesses": {"errors"},
    "files": BASE,
    "limits": BASE,
    "readers": BASE | {"files", "limits"},
    "semantics": BASE,
    "activations": BASE | {"semantics"},
    "layers/recurrent/kernels": BASE | {"limits"},
    "layers/binding": ROLES | {"layers", "layers/recurrent/kernels"},
    "layers": ROLES | LAYERS - {"layers/operations"},
    "layers/recurrent": ROLES | LAYERS - {"layers/operations"},
    "layers/operations": ROLES | LAYERS - {"layers/recurrent"},
    "inputs": BASE | {"files", "limits", "readers", "traces"},
    "traces": BASE,
    "replay": ROLES | LAYERS - {"layers/operations"} | {"traces"},
    "writers": BASE | {"files", "limits", "traces"},
    "trace_files": BASE | {"files", "limits", "readers", "inputs", "traces", "writers"},
    "trace": BASE | {"inputs", "traces", "writers", "trace_files", "observed", "analysis", "pictures"},
    "opened_model": ROLES | {"layers", "layers/binding", "layers/recurrent", "readers", "inputs", "traces", "replay"},
    "vocabulary": ROLES | {"inputs", "layers", "layers/binding"},
    "labels": BASE | {"inputs", "traces", "replay", "opened_model"},
    "observed": BASE | {"files", "inputs", "traces", "replay", "trace_files", "opened_model"},
    "analysis": ROLES | LAYERS | {"inputs", "traces", "replay", "opened_model", "observed"},
    "pictures": BASE | {"limits", "inputs", "traces", "observed", "analysis"},
    "model": BASE
    | {"readers", "inputs", "traces", "replay", "trace", "opened_model", "observed", "analysis", "vocabulary"},
    "comparing": BASE | {"traces", "trace_files", "trace", "opened_model", "analysis", "vocabulary", "model"},
    "scale": BASE
    | {
        "files",
        "layers/recurrent/kernels",
        "readers",
        "inputs",
        "traces",
        "replay",
        "writers",
        "opened_model",
        "vocabulary",
    },
    "migration": REPLAYED | {"writers", "verification"},
    "golden": REPLAYED | {"analysis", "writers", "verification"},
    "verification": REPLAYED - {"layers/recurrent/kernels"} | {"analysis"},
}
"""Room → the rooms above it, from which it may import beside itself."""
THIRD_PARTY = {
    "errors": set(),
    "graph": {"numpy"},
    "layers/recurrent/kernels": {"numpy", "numba", "threadpoolctl"},
    "files": {"fsspec"},
    "scale": {"numpy", "distributed", "zarr"},
    "readers": {"numpy", "h5py", "yaml"},
    "writers": {"numpy", "h5py", "polars", "xarray"},
    "cli": {"numpy", "click", "rich", "polars"},
    "verification": {"numpy", "tensorflow", "keras", "tf_keras"},
    "golden": {"numpy"},
    "migration": {"numpy", "h5py"},
    "inputs": {"numpy", "polars"},
    "analysis": {"numpy", "polars", "numba"},
    "trace_files": {"numpy", "polars", "zarr"},
    "traces": {"numpy"},
    "trace": set(),
    "pictures": {"numpy", "altair", "vl_convert"},
}


def room_of(*parts):
    """Return the room of a module, given by the parts of its name below the package."""
    path = "/".join(parts)
    return max((room for room in MAY_IMPORT if f"{path}/".startswith(f"{room}/")), key=len, default=parts[0])


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
        room = room_of(*folders) if name == "__init__" and folders else room_of(*folders, name)
        if room != "__init__":
            yield pytest.param(path, room, id=str(path.relative_to(PACKAGE)))


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


@pytest.mark.parametrize(("path", "room"), list(modules()))
def test_a_module_imports_only_from_rooms_above_its_own(path, room):
    if room == "cli":
        return
    for name in imports(path):
        root, *inner = name.split(".")
        if root == "gateprobe" and inner:
            assert room_of(*inner) in MAY_IMPORT[room] | {room}, f"{path} must not import {name}"
        elif root not in sys.stdlib_module_names and root != "gateprobe":
            assert root in THIRD_PARTY.get(room, {"numpy"}), f"{path} must not import {name}"


def test_no_import_runs_in_a_circle():
    """Also inside a room; packages import nothing but what registers itself."""
    files = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    graph = {module: {name for name in imports(path) if name in files} for module, path in files.items()}
    tuple(TopologicalSorter(graph).static_order())


def loaded_by(code):
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import gateprobe") & {"numpy", "h5py", "polars", "click", "rich", "tensorflow", "keras"}


def test_reading_and_tracing_load_no_framework():
    sample = PACKAGE.parent / "sample_models" / "keras2.h5"
    code = f"import gateprobe, numpy; gateprobe.read({str(sample)!r}).trace(numpy.zeros((1, 6, 2), 'f4'))"
    assert not loaded_by(code) & {"tensorflow", "keras", "tf_keras", "polars", "pyarrow", "click", "rich", "scipy"}
