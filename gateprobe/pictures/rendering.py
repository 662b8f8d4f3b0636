"""Charts → PNG, SVG, PDF and HTML, without a request to anywhere."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from typing import Any

import altair as alt
import vl_convert

from gateprobe.limits.system import require_room_for_drawing

_OFFLINE: Mapping[str, Any] = {"allowed_base_urls": []}
"""A chart holds its numbers; nothing is fetched, whatever a text from a file says."""
_SHARP = 2.0
"""Pixels of a PNG for each pixel of the chart."""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; \
style-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body {{ margin: 1.5rem; background: #fff; }} #chart {{ overflow-x: auto; }}</style>
</head>
<body>
<div id="chart"></div>
<script type="application/json" id="specification">{specification}</script>
<script>{libraries}</script>
<script>
vegaEmbed("#chart", JSON.parse(document.getElementById("specification").textContent),
  {{mode: "vega-lite", renderer: "canvas", actions: {{export: true, source: false, compiled: false, editor: false}}}});
</script>
</body>
</html>
"""


def rendered(chart: alt.TopLevelMixin, form: str, title: str) -> bytes:
    """Return a file's content.

    Args:
        chart: What to draw.
        form: One of `FORMS`.
        title: Of a page.
    """
    return FORMS[form](chart.to_dict(), title)


def _version() -> str:
    """Return the Vega-Lite for which the chart was made, as vl-convert names it."""
    return "v" + ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def _png(specification: dict[str, Any], title: str) -> bytes:
    require_room_for_drawing()
    return vl_convert.vegalite_to_png(specification, vl_version=_version(), scale=_SHARP, **_OFFLINE)


def _svg(specification: dict[str, Any], title: str) -> bytes:
    require_room_for_drawing()
    return vl_convert.vegalite_to_svg(specification, vl_version=_version(), **_OFFLINE).encode()


def _pdf(specification: dict[str, Any], title: str) -> bytes:
    require_room_for_drawing()
    return vl_convert.vegalite_to_pdf(specification, vl_version=_version(), **_OFFLINE)


def _html(specification: dict[str, Any], title: str) -> bytes:
    """Return a page that holds the chart and the libraries that draw it."""
    inert = json.dumps(specification, allow_nan=False).replace("<", "\\u003c")
    libraries = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_version())
    return _PAGE.format(title=html.escape(title), specification=inert, libraries=libraries).encode()


FORMS: Mapping[str, Callable[[dict[str, Any], str], bytes]] = {"png": _png, "svg": _svg, "pdf": _pdf, "html": _html}
"""Name of a format → makes it."""
