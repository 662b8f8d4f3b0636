"""Draw docs/pictures/steps.svg: three timesteps of one unit of sample_models/brackets.keras, with its numbers.

python docs/make_steps_picture.py
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import gateprobe
from gateprobe import DirectionTrace

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
PICTURE = ROOT / "docs" / "pictures" / "steps.svg"
SYMBOLS = "()a"
TIMESTEPS = range(2, 5)
LEFT, BOX, GAP, TOP, HIGH = 96, 148, 84, 54, 176
"""Pixels: the first box from the left, a box's width, the space between boxes, the boxes from above, their height."""
GATES = (
    ("input_gate", "i", "write"),
    ("forget_gate", "f", "keep"),
    ("candidate", "g", "what"),
    ("output_gate", "o", "show"),
)
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="300" viewBox="0 0 {width} 300" \
font-family="sans-serif" font-size="13" text-anchor="middle">
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0L8 4L0 8z" fill="#444"/></marker></defs>
<rect width="{width}" height="300" fill="#fff"/>
"""


def make() -> str:
    """Return the drawing."""
    x = np.load(SAMPLES / "brackets.npy")[:1]
    part = gateprobe.read(SAMPLES / "brackets.keras").trace(x)["lstm"].forward
    letters = [SYMBOLS[number] for number in x[0].argmax(-1)]
    width = 2 * LEFT + len(TIMESTEPS) * (BOX + GAP) - GAP
    parts = (line for n, t in enumerate(TIMESTEPS) for line in _step(part, t, letters[t], LEFT + n * (BOX + GAP)))
    last = _handed_over(part, TIMESTEPS[-1], LEFT + len(TIMESTEPS) * (BOX + GAP) - GAP)
    return "\n".join((HEAD.format(width=width), *parts, *last, "</svg>\n"))


def _step(part: DirectionTrace, t: int, letter: str, left: int) -> Iterator[str]:
    middle = left + BOX // 2
    yield from _handed_over(part, t - 1, left - GAP)
    yield f'<rect x="{left}" y="{TOP}" width="{BOX}" height="{HIGH}" rx="8" fill="#eef1fb" stroke="#3f51b5"/>'
    yield _text(middle, TOP + 22, f"timestep {t}", 'font-weight="bold"')
    for number, (signal, word, job) in enumerate(GATES):
        height = TOP + 56 + 30 * number
        yield _text(left + 14, height, word, 'text-anchor="start" font-style="italic"')
        yield _text(left + 82, height, f"{part[signal][0, t, 0]:.2f}", 'text-anchor="end"')
        yield _text(left + BOX - 14, height, job, 'text-anchor="end" fill="#666"')
    yield _arrow(middle, 278, middle, TOP + HIGH + 2)
    yield _text(middle, 294, f"reads {letter}")
    yield _arrow(middle, TOP, middle, 24)
    yield _text(middle, 16, f"output {part.hidden_state[0, t, 0]:.2f}")


def _handed_over(part: DirectionTrace, t: int, left: int) -> Iterator[str]:
    """Draw the two states that timestep t hands to the next one."""
    for height, word, state in ((TOP + 52, "c", part.cell_state), (TOP + 130, "h", part.hidden_state)):
        yield _arrow(left + 3, height, left + GAP - 2, height)
        yield _text(left + GAP // 2, height - 8, f"{word} = {state[0, t, 0]:.2f}")


def _text(x: int, y: int, words: str, style: str = "") -> str:
    return f'<text x="{x}" y="{y}" {style}>{words}</text>'


def _arrow(x: int, y: int, to_x: int, to_y: int) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="#444" stroke-width="1.5" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    PICTURE.write_text(make(), encoding="utf-8")
