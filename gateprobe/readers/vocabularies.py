"""Vocabularies that a ``.keras`` zip keeps beside the configuration, in ``assets/.../vocabulary.txt``.

Source: ``save_assets`` in ``keras/src/layers/preprocessing/index_lookup.py`` 3.15.1 and in that of ``tf_keras`` 2.21.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.graph import Vocabulary
from gateprobe.readers import archive
from gateprobe.readers.hdf5 import Budget

MAX_BYTES = 256 << 20
MAX_FILES = 10_000
_ASSET = re.compile(r"assets/(.+)/vocabulary\.txt", re.DOTALL)
_CONTAINERS = re.compile(
    r"(?:^|(?<=/))(?:_layer_checkpoint_dependencies|_self_tracked_trackables|_layers|_operations)(?=/)"
)
"""What versions called the list of a model's layers."""
_INNER = "/_lookup_layer"
"""Where a TextVectorization keeps the same words once more."""


def in_zip(members: zipfile.ZipFile, budget: Budget) -> dict[str, Vocabulary]:
    """Return the vocabularies of a zip by the path of their layer, such as ``layers/text_vectorization``.

    Raises:
        ReadError: One is not UTF-8 text.
        UnsafeFile: There are too many, or they are larger than the budget.
    """
    found = {}
    for name, text in assets(members, budget):
        path = name.removeprefix("assets/").removesuffix("/vocabulary.txt")
        if not path.endswith(_INNER):
            words = text.replace("\r\n", "\n").split("\n")  # Windows ends its lines otherwise
            found[_CONTAINERS.sub("layers", path)] = Vocabulary(tuple(words), name)
    return found


def assets(members: zipfile.ZipFile, budget: Budget) -> Iterator[tuple[str, str]]:
    """Yield the name of each vocabulary and its text.

    Raises:
        ReadError: It is not UTF-8 text.
        UnsafeFile: There are too many, or they are larger than the budget.
    """
    names = dict.fromkeys(name for name in members.namelist() if _ASSET.fullmatch(name))
    if len(names) > MAX_FILES:
        raise UnsafeFile(f"the zip holds {len(names):,} vocabularies")
    for name in names:
        data = archive.read(members, name, min(MAX_BYTES, budget.limit))
        budget.spend(8 * len(data), name)
        try:
            yield name, data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ReadError(f"is not UTF-8 text: byte {error.start}", place=name) from None


def told(found: dict[str, Vocabulary]) -> Iterator[str]:
    """Yield what makes it depend on the version of Keras which words a file holds.

    Keras 3.15 breaks lines where Python does, also within words, and drops empty words at the end.
    """
    for vocabulary in found.values():
        lines = "\n".join(map(str, vocabulary.words)).splitlines()
        while lines and lines[-1] == "":
            lines.pop()
        if tuple(lines) != vocabulary.words:
            yield (
                f"{vocabulary.place} is read as it was written, a word a line: {len(vocabulary.words)} words; today's "
                f"Keras breaks lines within words too, or drops empty ones, and reads {len(lines)}"
            )
