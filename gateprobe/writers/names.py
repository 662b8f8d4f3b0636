r"""Names from a model file, made safe for where they go.

Names are literal wherever that is safe. What is not safe is written as a Python escape such as ``\x1b``; a backslash
of the name itself becomes ``\x5c``, so that two names never become one.
"""

from __future__ import annotations

import re

from gateprobe.errors import printable

_FORMULA = re.compile(r"""(?:^|(?<=[\s,;|"']))[=+\-@]""")
_ODD_PART = re.compile(r"\.{0,2}")


def cell_text(name: str) -> str:
    r"""Return a name for a CSV cell: no control characters, and nothing that a spreadsheet takes for a formula.

    Spreadsheets evaluate cells that begin with ``=``, ``+``, ``-`` or ``@``; that first character is escaped, also
    behind a separator or a quote, where a careless reader might begin a new cell.
    """
    return _FORMULA.sub(lambda match: _escaped(match[0]), printable(name.replace("\\", "\\x5c")))


def column_text(name: str) -> str:
    """Return a name for formats that hold any Unicode text: only lone surrogates are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def archive_key(path: str) -> str:
    """Return a key for NPZ and HDF5 that stays below the place where it is unpacked.

    Control characters and backslashes are escaped, and so are empty parts and parts called ``.`` or ``..``.
    """
    parts = printable(path.replace("\\", "\\x5c")).split("/")
    return "/".join(_archive_part(part) for part in parts)


def _archive_part(part: str) -> str:
    if _ODD_PART.fullmatch(part):
        return "".join(map(_escaped, part)) or "\\x"
    return part


def _escaped(character: str) -> str:
    return f"\\x{ord(character):02x}"
