"""Change the code in one place at a time and see whether a test fails: ``python -m tests.mutants.run --out DIR``.

Cosmic Ray says which changes there are (``pip install cosmic-ray``), ``mutants.toml`` which modules are changed, which
tests must notice, which changes are always tried (those that once stayed unnoticed), and which change nothing.

No file is touched. Most changes are of a function's body: the tests are collected once, and each change is tried in a
fork of that process, in which the function gets other code and those tests run that call it. Others, such as changes of
tables, are made while the module is imported, in a fork of a process that has not imported it yet; then all tests of
``mutants.toml`` for this module run. Tests that ask TensorFlow have no say. What is no change at all is left out:
annotations, ``*`` and ``/`` among arguments, the switches of ``@dataclass``, ``strict`` of ``zip``, ``is`` for ``==``.
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import tomllib
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))  # before NumPy is imported

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20
"""Of processor time that the tests of a change may take, unless asked otherwise; those behind, see `quickest`, are left
out. After a few times that a change counts as noticed: it made a loop endless, say."""
SLACK = 20
"""Seconds of processor time for whatever else a fork does: three times that for one that imports the tests anew."""
RECORDING = 3600
"""Likewise, for one run of all tests."""
PATIENCE = 40
"""How many times longer than that it may take on a busy machine."""
PR_SET_PDEATHSIG = 1
BROKEN = 99
"""Status of a fork in which something else than a test failed."""
SAME = ("Is_Eq", "IsNot_NotEq", "Eq_Is", "NotEq_IsNot")
WANTED = "not oracle and not slow and not corpus and not benchmark"
OPTIONS = ("-x", "-n0", "--hypothesis-seed=0", "-pno:cacheprovider", "--tb=line", "--assert=plain", "-m", WANTED)


@dataclass(frozen=True)
class Mutant:
    """One changed module."""

    module: str
    line: int
    was: str
    becomes: str
    source: str
    finding: str = ""
    """What it stands for, if it is always tried."""

    @property
    def path(self) -> str:
        return str(ROOT / self.module)


# --- which changes there are


def mutants_of(module: str, order: random.Random) -> Iterator[Mutant]:
    """Yield every change of a module that Cosmic Ray knows, each once, in random order."""
    from cosmic_ray.commands.init import _all_work_items
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / module).read_text(encoding="utf-8")
    seen = {_meaning(source)}
    items = list(_all_work_items([ROOT / module], {}))
    order.shuffle(items)
    for item in items:
        (change,) = item.mutations
        if change.operator_name.endswith(SAME):
            continue
        changed = mutate_code(source, get_operator(change.operator_name)(**change.operator_args), change.occurrence)
        meaning = _meaning(changed or source)
        if meaning is not None and meaning not in seen:
            seen.add(meaning)
            yield _mutant(module, source, changed, "")


def named_mutants(settings: dict[str, Any]) -> Iterator[Mutant]:
    """Yield the changes that are always tried."""
    for one in settings.get("named", ()):
        source = (ROOT / one["module"]).read_text(encoding="utf-8")
        if source.count(one["was"]) != 1:
            sys.exit(f"{one['module']} does not hold this once: {one['was']}")
        yield _mutant(one["module"], source, source.replace(one["was"], one["becomes"]), one["finding"])


def _mutant(module: str, source: str, changed: str, finding: str) -> Mutant:
    before, after = source.splitlines(), changed.splitlines()
    first = next((n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), len(after))
    most = min(len(before), len(after)) - first
    last = next((n for n in range(most) if before[-n - 1] != after[-n - 1]), most)
    was, becomes = (lines[first : len(lines) - last] for lines in (before, after))
    return Mutant(module, first + 1, *("\n".join(map(str.strip, lines)) for lines in (was, becomes)), changed, finding)


def _meaning(source: str) -> str | None:
    """Return what a module says, without what has no effect when it runs; ``None`` if it says nothing."""
    try:
        return ast.dump(_Bare().visit(ast.parse(source)))
    except SyntaxError:
        return None


class _Bare(ast.NodeTransformer):
    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults = [*node.defaults, *(default for default in node.kw_defaults if default is not None)]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        drops = {"zip": ("strict",), "dataclass": ("frozen", "slots", "eq")}.get(getattr(node.func, "id", ""), ())
        node.keywords = [keyword for keyword in node.keywords if keyword.arg not in drops]
        return self.generic_visit(node)


# --- changes of functions, in a process that has collected the tests

Key = tuple[str, str, int]
"""File, qualified name and first line of a function."""


def _key(code: CodeType) -> Key:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _nested(code: CodeType, above: tuple[CodeType, ...] = ()) -> Iterator[tuple[CodeType, tuple[CodeType, ...]]]:
    yield code, above
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant, (*above, code))


def _own(code: CodeType) -> object:
    """Return what a code says itself, without the functions in it."""
    plain = [repr(value) for value in code.co_consts if not isinstance(value, CodeType)]
    return code.co_code, code.co_names, code.co_varnames, plain


def functions_changed(mutant: Mutant) -> dict[Key, CodeType] | None:
    """Return the functions that get other code; ``None`` where a change is of something else."""
    source = Path(mutant.path).read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codes = [compile(text, mutant.path, "exec", dont_inherit=True) for text in (source, mutant.source)]
    before, after = ({_key(code): (code, above) for code, above in _nested(code)} for code in codes)
    if before.keys() != after.keys():
        return None
    found: dict[Key, CodeType] = {}
    for key, (code, above) in after.items():
        if _own(code) == _own(before[key][0]):
            continue
        owners = [one for one in (*above, code) if one.co_flags & 3 == 3 and not one.co_name.startswith("<")]
        if not owners:
            return None
        found |= {_key(one): one for one in owners}
        if code.co_name == "<lambda>":
            found[key] = code
    return found


REACH = "reach.json"
"""Test → what it reaches."""
Reached = tuple[float, list[str]]
"""How long a test takes, and which functions it calls."""


def files_of(tests: list[str]) -> list[str]:
    """Return the files of some choices of ``mutants.toml``, each once."""
    return list(dict.fromkeys(one.partition(" ")[0] for one in tests))


def chosen(tests: list[str], items: list[Any]) -> list[Any]:
    """Return the collected tests that ``mutants.toml`` chooses."""
    from _pytest.mark import Expression, KeywordMatcher

    wanted = [(ROOT / file, choice.removeprefix("-k ")) for file, _, choice in (one.partition(" ") for one in tests)]
    rules = [(file, Expression.compile(choice) if choice else None) for file, choice in wanted]
    return [
        item
        for item in items
        if any(
            item.path == file and (choice is None or choice.evaluate(KeywordMatcher.from_item(item)))
            for file, choice in rules
        )
    ]


def quickest(reach: dict[str, Reached], limit: float) -> list[str]:
    """Return as many tests as take so many seconds: the quickest case of each test, then the second one of each.

    What takes more than a tenth of a second goes last.
    """
    tests: dict[str, list[tuple[float, str]]] = {}
    for name, (seconds, _) in reach.items():
        tests.setdefault(name.partition("[")[0], []).append((seconds, name))
    ordered = sorted(
        (case[0] > 0.1, rank, *case) for cases in tests.values() for rank, case in enumerate(sorted(cases))
    )
    sums = itertools.accumulate(seconds for *_, seconds, _ in ordered)
    return [name for (*_, name), so_far in zip(ordered, sums, strict=True) if so_far <= limit]


class Campaign:
    """A plugin of pytest: instead of running the tests, tries the changes against them."""

    def __init__(
        self,
        mutants: list[Mutant],
        tests: list[str],
        out: Path,
        seconds: int,
        tell: Callable[[Mutant, str, float], None],
    ) -> None:
        self._mutants, self._tests, self._out, self._seconds, self._tell = mutants, tests, out, seconds, tell
        self._failed = False
        self.left: list[Mutant] = []
        """Those that cannot be tried so."""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = chosen(self._tests, items)

    def pytest_runtestloop(self, session: Any) -> bool:
        import pytest

        reach_file, items = self._out / REACH, {item.nodeid: item for item in session.items}
        known = json.loads(reach_file.read_text()) if _is_fresh(reach_file) else {}
        unknown = [item for name, item in items.items() if name not in known]
        if unknown:
            act = partial(self._record, unknown, known, reach_file)
            if _forked(act, self._out / "reach.log", RECORDING) != 0:
                pytest.exit(f"the tests fail without any change; see {self._out / 'reach.log'}", 3)
        reach = {name: one for name, one in json.loads(reach_file.read_text()).items() if name in items}
        unchanged = [items[name] for name in quickest(reach, self._seconds)[:30]]
        if _fate(_forked(lambda: self._run_changed({}, unchanged), self._out / "fast.log", SLACK)) != "survived":
            pytest.exit("tests fail in another order", 3)
        for mutant in self._mutants:
            compiled = mutant.module.endswith("lstm_loop.py") and not os.environ.get("NUMBA_DISABLE_JIT")
            codes = None if compiled else functions_changed(mutant)
            wanted = [json.dumps(key) for key in codes or ()]
            calling = {name: one for name, one in reach.items() if any(key in one[1] for key in wanted)}
            if not calling:
                self.left.append(mutant)
                continue
            started = time.monotonic()
            act = partial(self._run_changed, codes, [items[name] for name in quickest(calling, self._seconds)])
            fate = _fate(_forked(act, self._out / "fast.log", SLACK + 2 * self._seconds))
            self._tell(mutant, fate, time.monotonic() - started)
        return True

    def _record(self, items: list[Any], known: dict[str, Reached], place: Path) -> int:
        """Run tests and write down which functions each of them calls, beside what is known."""
        reach = dict(known)
        called: set[Key] = set()

        def watch(frame: Any, event: str, argument: object) -> None:
            if "/gateprobe/" in frame.f_code.co_filename:
                called.add(_key(frame.f_code))

        threading.settrace(watch)
        for item, following in itertools.zip_longest(items, items[1:]):
            called.clear()
            started = time.process_time()
            sys.settrace(watch)
            failed = self._fails(item, following)
            sys.settrace(None)
            if failed:
                return 1
            reach[item.nodeid] = time.process_time() - started, [json.dumps(key) for key in called]
        place.write_text(json.dumps(reach))
        return 0

    def _fails(self, item: Any, following: Any) -> bool:
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        return self._failed

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._failed = True
            _say(f"{report.nodeid} {report.longrepr}")

    def _run_changed(self, codes: dict[Key, CodeType], items: list[Any]) -> int:
        """Change functions of this process and run tests; 1 when one fails."""
        for file in {file for file, _, _ in codes}:  # some are imported only when they are needed
            importlib.import_module(".".join(Path(file).relative_to(ROOT).with_suffix("").parts))
        for one in gc.get_objects() if codes else ():
            if isinstance(one, FunctionType) and _key(one.__code__) in codes:
                one.__code__ = codes[_key(one.__code__)]
        return int(any(self._fails(item, following) for item, following in itertools.zip_longest(items, items[1:])))


def _is_fresh(file: Path) -> bool:
    """Whether a file is younger than the code and the tests."""
    sources = [path for folder in ("gateprobe", "tests") for path in (ROOT / folder).rglob("*.py")]
    return file.exists() and file.stat().st_mtime > max(path.stat().st_mtime for path in sources)


# --- changes of modules, in a process that has not imported them


class _Changed(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Finds and loads the changed module."""

    def __init__(self, mutant: Mutant) -> None:
        self._source = mutant.source
        super().__init__(mutant.module.removesuffix(".py").replace("/", "."), mutant.path)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return compile(self._source, self.path, "exec", dont_inherit=True)


class _Quickest:
    """A plugin of pytest: runs the quickest tests of those that call a module, or of all where none does."""

    def __init__(self, mutant: Mutant, tests: list[str], folder: Path, seconds: int) -> None:
        reach = json.loads((folder / REACH).read_text())
        own = json.dumps(mutant.path)
        self._calling = {name: one for name, one in reach.items() if any(own in key for key in one[1])} or reach
        self._tests, self._seconds = tests, seconds

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        found = {item.nodeid: item for item in chosen(self._tests, items)}
        names = quickest({name: one for name, one in self._calling.items() if name in found}, self._seconds)
        items[:] = [found[name] for name in names]


def _import_changed(mutant: Mutant, tests: list[str], folder: Path, seconds: int) -> int:
    """Import a changed module and run tests."""
    import pytest

    sys.meta_path.insert(0, _Changed(mutant))
    if "kernels" in mutant.module:
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="mutant-", dir=folder)
    status = pytest.main([*OPTIONS, "-q", *files_of(tests)], plugins=[_Quickest(mutant, tests, folder, seconds)])
    return 0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else int(status)


def _forked(act: Callable[[], int], log: Path, seconds: int) -> int:
    """Do something in a fork and return its status; a negative one for a signal."""
    pid = os.fork()
    if not pid:
        status = BROKEN
        try:
            os.setpgid(0, 0)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # ends with its parent
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
            with log.open("w") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
            status = act()
        except BaseException:  # noqa: BLE001 - the fork must end here, whatever happened
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    started = time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - started > PATIENCE * seconds:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.01)


def _fate(status: int) -> str:
    if status == BROKEN:
        raise RuntimeError("see the last log")
    return "survived" if not status else "endless" if status in (-signal.SIGXCPU, -signal.SIGKILL) else "killed"


# --- the command line


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _load() -> None:
    """Import what every test imports, but nothing of the package, and no TensorFlow ever."""
    sys.modules.update({"tensorflow": None, "keras": None, "tf_keras": None})  # type: ignore[dict-item]
    for name in ("numpy", "h5py", "polars", "numba", "pytest", "hypothesis", "rich", "click.testing", "threadpoolctl"):
        importlib.import_module(name)
    assert not [name for name in sys.modules if name.split(".")[0] == "gateprobe"]


def _drawn(settings: dict[str, Any], options: argparse.Namespace) -> list[Mutant]:
    """Return the changes to try."""
    found = []
    named = list(named_mutants(settings))
    for module in settings["modules"]:
        if options.modules and not any(module.endswith(end) for end in options.modules):
            continue
        found += [one for one in named if one.module == module]
        if not options.named:
            order = random.Random(f"{options.seed} {module}")
            found += itertools.islice(mutants_of(module, order), options.count or None)
    return found


def _kept(file: Path, settings: dict[str, Any], options: argparse.Namespace) -> list[Mutant]:
    """Draw changes, or go on with those that an interrupted run has drawn."""
    if not _is_fresh(file):
        file.write_text(json.dumps([asdict(one) for one in _drawn(settings, options)]), encoding="utf-8")
    return [Mutant(**one) for one in json.loads(file.read_text(encoding="utf-8"))]


def _name(mutant: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(mutant[key] for key in ("module", "line", "was", "becomes"))


def _same(mutant: Mutant, settings: dict[str, Any]) -> str | None:
    """Return why a change has no effect, if ``mutants.toml`` says so."""
    for one in settings.get("equivalent", ()):
        if mutant.module == one["module"] and mutant.was == one["was"] and mutant.becomes in one["becomes"]:
            return str(one["why"])
    return None


def _try_functions(mutants: list[Mutant], tests: list[str], out: Path, seconds: int, tell: Callable[..., None]) -> int:
    import pytest

    campaign = Campaign(mutants, tests, out, seconds, tell)
    status = pytest.main([*OPTIONS, "-q", *files_of(tests)], plugins=[campaign])
    (out / "left.json").write_text(json.dumps([asdict(one) for one in campaign.left]))
    return int(status)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="the end of a path; without any, all of mutants.toml")
    parser.add_argument("--count", type=int, default=40, help="changes of each module; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--named", action="store_true", help="only those that are always tried")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of processor time for the tests of a change")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    settings = tomllib.loads((ROOT / "tests/mutants/mutants.toml").read_text(encoding="utf-8"))
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    _load()
    record = out / "mutants.jsonl"
    tried = {_name(line) for line in map(json.loads, record.read_text().splitlines())} if record.exists() else set()
    mutants = [one for one in _kept(out / "drawn.json", settings, options) if _name(asdict(one)) not in tried]
    groups = {module: settings["modules"][module] for module in dict.fromkeys(one.module for one in mutants)}
    tests = {module: [path for name in names for path in settings["tests"][name]] for module, names in groups.items()}

    def tell(mutant: Mutant, fate: str, seconds: float) -> None:
        why = _same(mutant, settings)
        fate = "equivalent" if fate == "survived" and why else fate
        line = {**asdict(mutant), "source": None, "fate": fate, "why": why, "seconds": round(seconds, 2)}
        with record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    every = list(dict.fromkeys(one for ones in tests.values() for one in ones))
    if _forked(lambda: _try_functions(mutants, every, out, options.seconds, tell), out / "session.log", 10**6):
        sys.exit(f"the tests do not pass; see {out}/session.log")
    for left in json.loads((out / "left.json").read_text()):
        mutant = Mutant(**left)
        started = time.monotonic()
        status = _forked(
            lambda one=mutant: _import_changed(one, tests[one.module], out, options.seconds),
            out / "slow.log",
            3 * SLACK + 2 * options.seconds,
        )
        tell(mutant, _fate(status), time.monotonic() - started)
    summarize(record)


def summarize(record: Path) -> None:
    """Print what became of the changes."""
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if line["fate"] == "survived":
            _say(f"{line['module']}:{line['line']} {line['finding']}\n  - {line['was']}\n  + {line['becomes']}")
    counts = Counter((line["module"], line["fate"]) for line in lines)
    fates = ("killed", "endless", "equivalent", "survived")
    for module in dict.fromkeys(line["module"] for line in lines):
        _say(f"{module}: " + ", ".join(f"{counts[module, fate]} {fate}" for fate in fates))
    alive = sum(line["fate"] == "survived" for line in lines)
    _say(f"{len(lines)} changes, {100 - 100 * alive / max(1, len(lines)):.1f} % noticed, or argued to be none")


if __name__ == "__main__":
    main()
