"""Photograph the report of the sample LSTM that counts nested brackets, in the system's Chromium.

python docs/make_report_pictures.py        writes docs/report-light.png, report-dark.png and report-phone.png
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from chromium import browser  # noqa: E402

SAMPLES = ROOT / "sample_models"
COMMAND = ("report", "brackets.keras", "brackets.npy", "--tokens", "brackets_tokens.txt")
VIEW = "#sample=1&layer=lstm&direction=forward&signal={}&unit=0&timestep=5&stretch=3-7"
PICTURES = {
    "report-light.png": ("light", 1280, None, "cell_state"),
    "report-dark.png": ("dark", 1280, 640, "forget_gate"),
    "report-phone.png": ("light", 375, 740, "cell_state"),
}
"""Name → theme, width, height (``None`` for the whole page) and signal."""


def make(folder, chromium):
    """Run the command and photograph its page in a browser."""
    with tempfile.TemporaryDirectory() as work:
        page_file = Path(work, "report.html")
        command = [str(Path(sys.executable).with_name("gateprobe")), *COMMAND, "-o", str(page_file)]
        subprocess.run(command, cwd=SAMPLES, check=True)  # noqa: S603 - our own command
        for name, (scheme, width, height, signal) in PICTURES.items():
            size = {"width": width, "height": height or 900}
            page = chromium.new_page(viewport=size, color_scheme=scheme)
            page.goto(f"file://{page_file}{VIEW.format(signal)}")
            page.fill("#threshold", "2")
            page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
            page.screenshot(path=folder / name, full_page=height is None, animations="disabled")
            page.close()


if __name__ == "__main__":
    with browser() as started:
        make(ROOT / "docs", started)
