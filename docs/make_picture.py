"""Draw the picture of the README: the gates of the sample LSTM that counts nested brackets.

python docs/make_picture.py        writes docs/brackets.svg
"""

from pathlib import Path

import gateprobe

ROOT = Path(__file__).parents[1]
TEXT = "((a)(a(a)))a"
SIGNALS = ("input_gate", "forget_gate", "candidate", "output_gate", "cell_state", "hidden_state")
CELL, LEFT, TOP = 34, 132, 44
BLUE, WHITE, RED = (33, 102, 172), (247, 247, 247), (178, 24, 43)


def colour(value, limit):
    """Return a colour from blue (-limit) over white to red (limit)."""
    share = max(-1.0, min(1.0, value / limit))
    end = RED if share > 0 else BLUE
    mixed = (round(w + (e - w) * abs(share)) for w, e in zip(WHITE, end, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def svg(trace):
    """Return the drawing: one column for each symbol, one row for each signal of unit 0."""
    width, height = LEFT + CELL * len(TEXT) + 12, TOP + CELL * len(SIGNALS) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="Helvetica, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for t, symbol in enumerate(TEXT):
        x = LEFT + CELL * t + CELL / 2
        parts.append(
            f'<text x="{x}" y="{TOP - 14}" font-size="20" font-family="monospace" text-anchor="middle">{symbol}</text>'
        )
    for row, name in enumerate(SIGNALS):
        values = getattr(trace, name)[0, :, 0]
        limit = max(1.0, float(abs(values).max()))
        y = TOP + CELL * row
        parts.append(f'<text x="{LEFT - 10}" y="{y + 21}" font-size="13" text-anchor="end">{name}</text>')
        for t, value in enumerate(values.tolist()):
            x, dark = LEFT + CELL * t, abs(value) > 0.6 * limit
            parts.append(
                f'<rect x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" fill="{colour(value, limit)}"/>'
            )
            parts.append(
                f'<text x="{x + CELL / 2}" y="{y + 21}" font-size="11" text-anchor="middle" '
                f'fill="{"#fff" if dark else "#222"}">{value:.2f}</text>'
            )
    depth, y = 0, TOP + CELL * len(SIGNALS) + 22
    parts.append(f'<text x="{LEFT - 10}" y="{y}" font-size="13" text-anchor="end" fill="#666">true depth</text>')
    for t, symbol in enumerate(TEXT):
        depth += {"(": 1, ")": -1}.get(symbol, 0)
        x = LEFT + CELL * t + CELL / 2
        parts.append(f'<text x="{x}" y="{y}" font-size="13" text-anchor="middle" fill="#666">{depth}</text>')
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    samples = ROOT / "sample_models"
    import numpy as np

    traced = gateprobe.read(samples / "brackets.keras").trace(np.load(samples / "brackets.npy"))
    (ROOT / "docs" / "brackets.svg").write_text(svg(traced["lstm"].forward), encoding="utf-8")
