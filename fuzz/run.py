"""Fuzz one target: ``python -m fuzz.run TARGET [libFuzzer options] [CORPUS]``, from the project's folder.

``python -m fuzz.run hdf5 -max_total_time=600 -rss_limit_mb=1024 -timeout=10 corpus/hdf5``
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import atheris

with atheris.instrument_imports(include=["gateprobe", "zipfile"]):
    from fuzz.targets import TARGETS

LENGTHS = {
    "names": 64,
    "npy": 300,
    "savedmodel": 512,
    "checkpoint": 512,
    "tfjs": 8000,
    "table": 400,
    "json": 4000,
    "shards": 2000,
    "wiring": 4000,
}
"""The longest input, where short ones tell as much as long ones; executions per second count."""
SHARE = 0.8
"""How often the structure-aware mutator is used rather than libFuzzer's own."""


def main() -> None:
    """Hand the target to atheris."""
    target = TARGETS[sys.argv[1]]
    for number, seed in enumerate(target.seeds()):
        _offer(sys.argv[2:], f"seed{number}", seed)
    mutate = target.mutate

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        assert mutate is not None
        if seed % 100 < 100 * SHARE:
            return mutate(data, seed)[:max_size]
        return atheris.Mutate(data, max_size)

    options = {} if mutate is None else {"custom_mutator": mutated}
    atheris.Setup([sys.argv[0], f"-max_len={LENGTHS.get(sys.argv[1], 100_000)}", *sys.argv[2:]], target.run, **options)
    atheris.Fuzz()


def _offer(arguments: list[str], name: str, seed: bytes) -> None:
    """Put a seed into the corpus, which is the first argument that is no option."""
    folders = [Path(text) for text in arguments if not text.startswith("-")]
    if folders and folders[0].is_dir():
        (folders[0] / name).write_bytes(seed)


if __name__ == "__main__":
    main()
