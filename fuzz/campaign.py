"""Fuzz every target for a while, one after the other, and keep the figures.

``python -m fuzz.campaign FOLDER SECONDS [TARGET...]`` writes corpora, what was found and ``figures.jsonl`` into FOLDER.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from fuzz.targets import TARGETS

LIMITS = ("-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1")


def main() -> None:
    """Run one round."""
    folder, seconds = Path(sys.argv[1]), int(sys.argv[2])
    for name in sys.argv[3:] or TARGETS:
        figures = _run(folder, name, seconds)
        with (folder / "figures.jsonl").open("a") as file:
            file.write(json.dumps(figures) + "\n")
        sys.stdout.write(f"{figures}\n")


def _run(folder: Path, name: str, seconds: int) -> dict[str, object]:
    corpus, found = folder / "corpus" / name, folder / "found" / name
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "fuzz.run", name, f"-max_total_time={seconds}", *LIMITS]
    started = time.monotonic()
    done = subprocess.run(
        [*command, f"-artifact_prefix={found}/", str(corpus)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    took = time.monotonic() - started
    (folder / f"{name}.log").write_text(done.stdout[-20_000:] + done.stderr[-20_000:])
    return {
        "target": name,
        "executions": _number(r"number_of_executed_units:\s*(\d+)", done.stderr) or _number(r"^#(\d+)", done.stderr),
        "peak_rss_mb": _number(r"peak_rss_mb:\s*(\d+)", done.stderr),
        "seconds": round(took, 1),
        "status": done.returncode,
        "why": next(
            iter(re.findall(r"^ === .*\n(?:.*\n){0,1}|ERROR: .*", done.stdout + done.stderr, re.MULTILINE)), ""
        )[:200],
    }


def _number(pattern: str, text: str) -> int:
    found = re.findall(pattern, text, re.MULTILINE)
    return max(map(int, found)) if found else 0


if __name__ == "__main__":
    main()
