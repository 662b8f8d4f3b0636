"""Golden vectors in a folder: C99 sources, JSON and NPZ."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateprobe.errors import InputError, OutputError
from gateprobe.golden.c_source import Block, blocks_of, sources
from gateprobe.golden.vectors import Vectors, letters_of, vectors
from gateprobe.opened_model import OpenedModel
from gateprobe.traces.selection import Selection
from gateprobe.writers.target import blamed, write_files

FORMAT = 1
"""Version of ``golden.json``."""
FILES = (
    "golden.h", "golden_weights.c", "golden_vectors.c", "golden_step.c", "golden_check.c", "golden.json", "golden.npz",
)  # fmt: skip
"""What a folder holds; without the C sources the last two."""


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Golden vectors of a model."""

    blocks: tuple[Block, ...]
    metadata: Mapping[str, Any]

    @property
    def vectors(self) -> tuple[Vectors, ...]:
        """For each direction of each layer."""
        return tuple(block.vectors for block in self.blocks)

    def files(self, *, c: bool = True) -> dict[str, bytes]:
        """Return file name → bytes.

        Args:
            c: Whether to make the C sources.

        Raises:
            UnsupportedModel: An activation has no formula in C here.
        """
        made = {name: text.encode("ascii") for name, text in sources(self.blocks).items()} if c else {}
        made["golden.json"] = json.dumps(self.as_json(), indent=1).encode()
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **dict(self._arrays()))
        return {**made, "golden.npz": stream.getvalue()}

    def as_json(self) -> dict[str, Any]:
        """Return everything, JSON-ready; numbers that are not used at masked steps are null."""
        return {"format": FORMAT, **self.metadata, "layers": [_described(block) for block in self.blocks]}

    def _arrays(self) -> Iterator[tuple[str, Any]]:
        for block in self.blocks:
            path = f"{block.vectors.layer}/{block.vectors.direction}"
            for name, value in {**block.weights(), **block.data()}.items():
                yield f"{path}/{name}", value
            yield f"{path}/timesteps", block.vectors.timesteps
            yield f"{path}/gate_names", np.array(block.gates)


def golden(
    model: OpenedModel,
    x: object,
    *,
    selection: Selection | None = None,
    samples: Sequence[int] = (0,),
    order: str | None = None,
    transpose: bool = False,
    dtype: str | None = None,
) -> Golden:
    """Make golden vectors.

    Args:
        model: The model.
        x: Its inputs.
        selection: Which layers and directions; all without it.
        samples: Numbers of the samples.
        order: Letters of the gates in the order in which the port keeps them, such as ``iofg``, ``rzh``; several with
            commas. Keras's own where none has the letters of a layer.
        transpose: Whether kernels are ``[gate][unit][feature]``.
        dtype: To compute in, instead of that of the file.

    Raises:
        InputError: The inputs do not fit, or an order is none.
        UnsupportedModel: A layer cannot be replayed, or is none of LSTM, GRU and SimpleRNN.
    """
    found = vectors(model, x, selection or Selection(), samples, dtype=dtype)
    if not found:
        raise InputError("the model has no recurrent layer")
    orders = _orders(found, order)
    about = model.metadata(options={"order": order, "transpose": transpose, "dtype": dtype})
    kept = {key: about[key] for key in ("gateprobe", "model", "era", "keras_version", "semantics", "notes")}
    return Golden(tuple(blocks_of(found, orders, transpose=transpose)), kept)


def write(made: Golden, folder: str | os.PathLike[str], *, c: bool = True, overwrite: bool = False) -> None:
    """Write golden vectors into a folder.

    Args:
        made: The vectors.
        folder: Made when it is not there.
        c: Whether to write the C sources.
        overwrite: Whether to replace files that are there.

    Raises:
        OutputError: The folder cannot be written, or a file is there.
    """
    path = Path(folder)
    data = made.files(c=c)
    new = not path.exists()
    if not new and not path.is_dir():
        raise OutputError("is no folder", file=os.fspath(folder), remedy="name one, or one to be made")
    with blamed(os.fspath(folder)):
        path.mkdir(exist_ok=True)
    try:
        write_files({os.fspath(path / name): content for name, content in data.items()}, force=overwrite)
    except BaseException:
        if new:
            _remove_empty(path)
        raise


def _remove_empty(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:  # not empty: what is in it stays
        return


def _orders(found: Sequence[Vectors], order: str | None) -> dict[str, tuple[str, ...]]:
    """Return ``layer/direction`` → the gates in the order that was asked for.

    Raises:
        InputError: An order has the letters of no layer.
    """
    asked = [] if order is None else order.split(",")
    used: set[str] = set()
    orders = {}
    for one in found:
        gates = {letter: gate for gate, letter in letters_of(one).items()}
        fitting = [text for text in asked if sorted(text) == sorted(gates)]
        used.update(fitting)
        orders[f"{one.layer}/{one.direction}"] = (
            tuple(gates[letter] for letter in fitting[0]) if fitting else one.anatomy.gates
        )
    for text in asked:
        if text not in used:
            there = ", ".join(dict.fromkeys("".join(letters_of(one).values()) for one in found if one.gates))
            raise InputError(f"--order={text} has the gates of no layer", remedy=f"Keras's own: {there or 'none'}")
    return orders


def _described(block: Block) -> dict[str, Any]:
    vectors = block.vectors
    anatomy = vectors.anatomy
    output = anatomy.output_activation
    return {
        "layer": vectors.layer,
        "direction": vectors.direction,
        "kind": vectors.kind,
        "units": vectors.units,
        "features": int(vectors.x.shape[2]),
        "gate_names": list(block.gates),
        "transposed": block.transpose,
        "reset_after": anatomy.reset_after if vectors.kind == "GRU" else None,
        "activations": {gate: anatomy.activations[gate].label for gate in block.gates}
        | ({} if output is None else {"output": output.label}),
        "samples": list(vectors.samples),
        "timesteps": vectors.timesteps.tolist(),
        "tolerances": dict(vectors.tolerances),
        **{name: _plain(value) for name, value in {**block.weights(), **block.data()}.items()},
    }


def _plain(value: Any) -> Any:
    """Return an array as lists; what is not a number becomes ``None``."""
    if value.ndim:
        return [_plain(part) for part in value]
    return (float(value) if np.isfinite(value) else None) if value.dtype.kind == "f" else int(value)
