"""JSON for ``--json``."""

from __future__ import annotations

import json


def json_text(value: object) -> str:
    """Return indented ASCII JSON without control characters, whatever the names in a file are."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f")
