"""Reads charts back: which numbers stand at which place of which panel."""


def panels(chart):
    """Yield title and marks of each panel of a chart; a mark is its kind, its encoding and its rows of data."""
    spec = chart.to_dict()
    for panel in spec["concat"]:
        title = panel.get("title", {}).get("text", "")
        parts = panel.get("vconcat", [panel])
        yield title, [_mark(layer, part, panel, spec) for part in parts for layer in part["layer"]]


def _mark(layer, part, panel, spec):
    """Altair moves data that all marks share upwards."""
    data = next(one["data"] for one in (layer, part, panel, spec) if "data" in one)
    return layer["mark"], layer["encoding"], spec["datasets"][data["name"]]


def numbers(marks):
    """Return the numbers of a map: (row, timestep) → value."""
    return {
        (row["row"], row["timestep"]): row["value"]
        for mark, _, rows in marks
        if mark["type"] == "rect"
        for row in rows
        if "value" in row
    }


def covered(marks):
    """Return what covers the places of a map that hold no number: (row, timestep) → masked, NaN or infinite."""
    return {
        (row["row"], row["timestep"]): row["cell"]
        for mark, _, rows in marks
        if mark["type"] == "rect"
        for row in rows
        if "cell" in row
    }


def domains(marks):
    """Return the ends of the colours of each mark that has a scale of them."""
    return [
        encoding["color"]["scale"]["domain"]
        for mark, encoding, _ in marks
        if mark["type"] == "rect" and "scale" in encoding.get("color", {})
    ]
