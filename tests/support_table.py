"""The README's table of what can be replayed, made from the registry.

python tests/support_table.py        puts it into README.md
"""

import re
import sys
from pathlib import Path

import gateprobe.layers
from gateprobe.graph import Namespace
from gateprobe.layers.binding.registry import registered

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- support: begin -->", "<!-- support: end -->"


def table():
    """Return the marked block of the README."""
    kinds = registered()
    layers = [kind for kind in kinds if kind.namespace is Namespace.LAYER and " " not in kind.class_name]
    rows = {
        "recurrent, with gate traces": [kind.class_name for kind in layers if kind.recurrent],
        "other layers": [kind.class_name for kind in layers if not kind.recurrent],
        "operations of `keras.ops` in a graph": [k.class_name for k in kinds if k.namespace is Namespace.OPERATION],
    }
    lines = [f"| {title} | {', '.join(names)} |" for title, names in rows.items()]
    return "\n".join([START, "| | Keras classes |", "|---|---|", *lines, END])


if __name__ == "__main__":
    del gateprobe.layers
    text = README.read_text(encoding="utf-8")
    text = re.sub(f"{START}.*?{END}", lambda _: table(), text, flags=re.DOTALL)
    sys.exit(README.write_text(text, encoding="utf-8") == 0)
