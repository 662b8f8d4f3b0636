"""The tables of docs/support.md: what can be replayed, made from the registry.

python tests/support_table.py        puts them into docs/support.md
"""

import re
import sys
from itertools import groupby
from pathlib import Path

import gateprobe.layers
from gateprobe.graph import Namespace
from gateprobe.layers.binding import left_out
from gateprobe.layers.binding.registry import registered
from gateprobe.layers.operations.tf_functions import FUNCTIONS
from gateprobe.layers.operations.tf_nodes import OPERATIONS

PAGE = Path(__file__).parents[1] / "docs" / "support.md"
START, END = "<!-- support: begin -->", "<!-- support: end -->"


def file_of(kind):
    """Return the module that replays a class, as a path below ``gateprobe/layers/``."""
    return kind.bind.__module__.removeprefix(f"{gateprobe.layers.__name__}.").replace(".", "/") + ".py"


def rows(kinds):
    """Return one line for each module, with its classes in the order of the registry."""
    for file, group in groupby(sorted(kinds, key=file_of), key=file_of):
        yield f"| `{file}` | {', '.join(kind.class_name for kind in group)} |"


def reasons(names):
    """Return one line for each reason why classes are not replayed."""
    for reason in dict.fromkeys(names.values()):
        yield f"- {', '.join(sorted(name for name in names if names[name] == reason))}: {reason}."


def table():
    """Return the marked block of the page."""
    kinds = [kind for kind in registered() if " " not in kind.class_name]  # a blank: made by us, in no file
    layers = [kind for kind in kinds if kind.namespace is not Namespace.OPERATION]
    operations = [kind.class_name for kind in kinds if kind.namespace is Namespace.OPERATION]
    lines = [
        "### Recurrent layers, with gate traces\n",
        "| file | Keras classes |\n|---|---|",
        *rows(kind for kind in layers if kind.recurrent),
        "\n### Other layers\n",
        "| file | Keras classes |\n|---|---|",
        *rows(kind for kind in layers if not kind.recurrent),
        "\n### Operations of `keras.ops` in a graph\n",
        ", ".join(operations) + ".",
        "\n### Not replayed\n",
        *(line for table in (left_out.LAYERS, left_out.OPERATIONS) for line in reasons(table)),
        "\n### TensorFlow functions that tf.keras saved as layers (`TFOpLambda`)\n",
        ", ".join(f"`{name}`" for name in sorted(FUNCTIONS)) + ".",
        "\n### Operations of TensorFlow that TensorFlow 1.15 to 2.3 saved as layers (`TensorFlowOpLayer`)\n",
        ", ".join(f"`{name}`" for name in sorted(OPERATIONS)) + ".",
    ]
    return "\n".join([START, *lines, END])


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    text = re.sub(f"{START}.*?{END}", lambda _: table(), text, flags=re.DOTALL)
    sys.exit(PAGE.write_text(text, encoding="utf-8") == 0)
