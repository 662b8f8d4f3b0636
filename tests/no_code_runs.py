"""Read and trace files under an audit hook: ``python no_code_runs.py CASES.json`` prints what each made Python do.

A process of its own, because an audit hook cannot be taken away. Everything that the program imports lazily is imported
by reading files that we made ourselves; from then on an import is a finding.
"""

import contextlib
import importlib
import io
import json
import os
import pkgutil
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

FORBIDDEN = ("exec", "compile", "import", "marshal.loads", "pickle.find_class", "code.__new__", "function.__new__")
FORBIDDEN_FAMILIES = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "ctypes.",
    "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "os.remove", "os.rename", "os.mkdir", "os.rmdir",
    "os.link", "os.symlink", "os.chmod", "os.truncate", "os.putenv", "shutil.", "tempfile.", "winreg.", "sqlite3.",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC

seen = []
armed = [False]


def hook(event, arguments):
    """Note what a data file must not cause."""
    if not armed[0]:
        return
    if event in FORBIDDEN or event.startswith(FORBIDDEN_FAMILIES):
        seen.append(f"{event}{str(arguments)[:100]}")
    elif event == "open" and arguments[0] != os.devnull:
        mode, flags = str(arguments[1] or ""), arguments[2] if isinstance(arguments[2], int) else 0
        if set(mode) & set("wax+") or (arguments[1] is None and flags & WRITING):
            seen.append(f"open{str(arguments)[:100]}")


@contextlib.contextmanager
def watched():
    """Arm the hook."""
    armed[0] = True
    try:
        yield
    finally:
        armed[0] = False


def use(case):
    """Read, plan, trace and describe, as far as each goes; return the last error."""
    from gateprobe.errors import GateprobeError
    from gateprobe.inputs.samples import load
    from gateprobe.model import read

    try:
        model = read(case["model"], architecture=case.get("architecture"))
        if "input" in case:
            x = load([case["input"]], model.inputs)
        else:
            x = {}
            for spec in model.inputs:
                ones = np.ones([2, *(size or 3 for size in (spec.shape or (1,))[1:])])
                x[spec.name] = ones.astype(str) if spec.dtype == "string" else ones
        model.trace(x).save(case["out"]) if "out" in case else model.trace(x)
        model.predict(x)
    except GateprobeError as error:
        return str(error)
    except MemoryError:
        return "not enough memory"
    return ""


def warm_up(good):
    """Import everything that the program can import."""
    import gateprobe

    for module in pkgutil.walk_packages(gateprobe.__path__, "gateprobe."):
        if "oracle" not in module.name and not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(module.name)
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(good):
            use({**case, "out": str(Path(folder) / f"{number}.npz")})
            use({**case, "architecture": case["model"]})
        use({"model": str(Path(folder) / "missing")})
        for name in ("x.npy", "x.npz", "x.csv"):
            (Path(folder) / name).write_bytes(b"\x93NUMPY" if name == "x.npy" else b"PK\x03\x04 1,2\n")
            use({"model": good[0]["model"], "input": str(Path(folder) / name)})


def main():
    """Report on every case, and on faults planted to show that the hook sees them."""
    cases = json.loads(Path(sys.argv[1]).read_text())
    warnings.simplefilter("ignore")
    sys.addaudithook(hook)
    warm_up(cases["good"])
    report = {}
    for name, case in {**cases["samples"], **cases["injections"]}.items():
        seen.clear()
        with watched():
            error = use(case)
        report[name] = {"events": list(seen), "error": error}
    report["planted"] = {"events": planted(), "error": ""}
    sys.stdout.write(json.dumps(report))


def planted():
    """Do everything that is forbidden, harmlessly."""
    import marshal
    import socket
    import subprocess

    code, folder = compile("1", "x", "eval"), tempfile.mkdtemp()
    payload = marshal.dumps(code)
    seen.clear()
    with watched():
        exec(code)
        compile("1", "x", "eval")
        marshal.loads(payload)
        with contextlib.suppress(ImportError):
            import no_such_module_here  # noqa: F401
        with (Path(folder) / "x").open("w"):
            pass
        with contextlib.suppress(OSError):
            socket.socket().close()
        subprocess.run([sys.executable, "--version"], stdout=subprocess.DEVNULL, check=False)
        np.load(io.BytesIO(pickled()), allow_pickle=True)
    return list(seen)


def pickled():
    """Return an ``.npy`` file of objects."""
    stream = io.BytesIO()
    np.save(stream, np.array([Path("x")], object), allow_pickle=True)
    return stream.getvalue()


if __name__ == "__main__":
    main()
