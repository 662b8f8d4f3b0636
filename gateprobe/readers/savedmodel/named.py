"""Where the files of a checkpoint are, whichever of its names a user gives.

TensorFlow writes ``NAME.index`` and ``NAME.data-00000-of-00001``, and into a text file ``checkpoint`` beside them which
NAME is the newest (``tensorflow/python/checkpoint/checkpoint_management.py`` 2.21). What that file says is looked for
in its own folder alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.readers.savedmodel.table import FOOTER, is_table
from gateprobe.readers.savedmodel.variables import SUFFIX

STATE = "checkpoint"
"""The text file that names the newest one."""
_MAX_STATE_BYTES = 1 << 20
_DATA = re.compile(r"\.data-\d{5}-of-\d{5}$")
_NEWEST = re.compile(r'^\s*model_checkpoint_path\s*:\s*("(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\')', re.MULTILINE)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def index_of(path: Path) -> Path | None:
    """Return the index of the checkpoint that a path means, ``None`` if it means none.

    Args:
        path: ``NAME.index``, one of its data files, NAME, a folder with a file ``checkpoint``, or that file.

    Raises:
        ReadError: The file ``checkpoint`` names none that is there.
        UnsafeFile: It names one outside its folder.
    """
    if path.is_dir() and (path / STATE).is_file():
        return _newest(path / STATE)
    if path.is_file():
        if _ends_as_index(path):
            return path
        if path.name == STATE and _NEWEST.search(_text(path)):
            return _newest(path)
    beside = path.with_name(_DATA.sub("", path.name) + SUFFIX) if path.name else path
    usable = not path.is_file() or _DATA.search(path.name) is not None
    return beside if usable and beside.is_file() and _ends_as_index(beside) else None


def files_of(index: Path) -> Iterator[Path]:
    """Yield the files of a checkpoint that are there."""
    yield index
    name = index.name.removesuffix(SUFFIX)
    for file in index.parent.iterdir():
        if file.name.startswith(name) and _DATA.fullmatch(file.name.removeprefix(name)):
            yield file
    if (index.parent / STATE).is_file():
        yield index.parent / STATE


def _ends_as_index(path: Path) -> bool:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - FOOTER))
        return is_table(file.read(FOOTER))


def _newest(state: Path) -> Path:
    """Return the index of the checkpoint that a file ``checkpoint`` calls the newest."""
    found = _NEWEST.search(_text(state))
    if found is None:
        raise ReadError("names no checkpoint (model_checkpoint_path)", file=str(state))
    name = _unescaped(found[1][1:-1], state)
    outside = PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or ".." in re.split(r"[/\\]", name)
    own = re.split(r"[/\\]", name)[-1]
    if outside or not name or "\0" in name:
        here = state.with_name(own + SUFFIX) if own not in ("", "..") and "\0" not in own else None
        remedy = f"give {here}" if here is not None and here.is_file() else "give the NAME.index that you mean"
        raise UnsafeFile(f"names a checkpoint outside its folder: {name!r:.120}", file=str(state), remedy=remedy)
    index = state.parent / f"{name}{SUFFIX}"
    if not index.is_file():
        raise ReadError(f"names {name!r:.120}, and there is no {own}{SUFFIX}", file=str(state))
    return index


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_STATE_BYTES).decode("utf-8", "replace")


def _unescaped(text: str, state: Path) -> str:
    """Return a text without the escapes of protocol buffers in text form."""

    def plain(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes([int(code, 8) & 0xFF]) if code[:1].isdigit() else _PLAIN.get(code, code)

    try:
        return _ESCAPE.sub(plain, text.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeDecodeError:
        raise ReadError("names a checkpoint in another encoding than UTF-8", file=str(state)) from None
