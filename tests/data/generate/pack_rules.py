"""Pack what the tests need of the recorded models: ``python pack_rules.py FOLDER ARCHIVE``.

``data/rules.tar.xz`` holds most of them, ``data/rules_states.tar.xz`` those of `bidirectional_keeps_states`,
``data/rules_patches.tar.xz`` those of it by Keras 2.1.3 and 2.1.4, and some of TensorFlow 1, ``data/rules_theano.tar.xz`` those of
``rules_theano.py``, ``data/rules_uncertain.tar.xz`` those of ``rules_uncertain.py`` and
``rules_cntk.py``, and `resize_half_pixels` by TensorFlow 2.1.

Each rule is kept on both sides of its changes, ``hard_sigmoid_slope``, whose models have gates, of every release.
"""

import bisect
import sys
import tarfile
from pathlib import Path

from gateprobe.opened_model import open_model
from gateprobe.semantics import RULES, release_of

sys.path.insert(0, str(Path(__file__).parents[2]))
import rules


def wanted(path):
    """Whether the tests need a model."""
    if path.stem == "hard_sigmoid_slope" or path.stem not in RULES or path.parent.name.startswith("tf1."):
        return True
    release = rules.told_apart(release_of(open_model(path).graph.origin))
    places = [bisect.bisect_left(rules.RELEASES, since) for since, _ in RULES[path.stem].changes]
    return any(release in rules.RELEASES[place - 1 : place + 1] for place in places)


def plain(info):
    """Forget who packed it, and when."""
    info.mtime = info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


with tarfile.open(sys.argv[2], "w:xz") as archive:
    for path in sorted(Path(sys.argv[1]).glob("*/*")):
        if path.suffix != ".npz" and wanted(path):
            for part in (path, path.with_suffix(".npz")):
                archive.add(part, f"{part.parent.name}/{part.name}", filter=plain)
