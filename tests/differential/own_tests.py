"""Let Keras's own tests of recurrent layers judge the replay: ``python -m differential.own_tests .keras``.

Each test of the installed Keras runs as it is, but whenever it calls a layer on numbers, the layer is saved in a model
file and the file's replay answers in its place. Keras's own assertions then compare our numbers with those that its
authors wrote down.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import unittest
import warnings
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from gateprobe.errors import GateprobeError

from .replay import replay

NAMES = (
    "rnn.lstm rnn.gru rnn.simple_rnn rnn.rnn rnn.bidirectional rnn.stacked_rnn_cells rnn.time_distributed rnn.conv_lstm"
    " rnn.conv_lstm1d rnn.conv_lstm2d rnn.conv_lstm3d core.masking"
)
MODULES = tuple(f"keras.src.layers.{name}_test" for name in NAMES.split())


class Answers:
    """Stands in for ``Layer.__call__``.

    Args:
        original: The method itself.
        folder: For model files.
        suffix: Of the file format.
    """

    def __init__(self, original: Any, folder: Path, suffix: str) -> None:
        self.original, self.folder, self.suffix = original, folder, suffix
        self.depth = self.answered = 0
        self.refusals: list[str] = []
        self.history: dict[int, tuple[Any, list[list[np.ndarray]]]] = {}
        """``id`` of a layer → the layer and what it was called with, batch by batch, if it is stateful."""

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        self.depth += 1
        try:
            result = self.original(layer, *args, **kwargs)
            if self.depth == 1 and self._asked(args, kwargs):
                return self._replayed(layer, result, args, kwargs)
        finally:
            self.depth -= 1
        return result

    def _asked(self, args: Any, kwargs: Any) -> bool:
        arrays = _flat([args, kwargs])
        symbolic = any(hasattr(one, "_keras_history") or not hasattr(one, "__array__") for one in arrays)
        return bool(arrays) and not symbolic and not kwargs.get("training")

    def _replayed(self, layer: Any, result: Any, args: Any, kwargs: Any) -> Any:
        given = [np.asarray(one) for one in _flat([args, kwargs])]
        _, batches = self.history.setdefault(id(layer), (layer, []))
        batches.append(given)
        if not _stateful(layer):
            del batches[:-1]
        path = str(self.folder / f"{self.answered}{self.suffix}")
        try:
            inputs = self._save(layer, given, args, kwargs, path)
        except NotImplementedError as error:  # layers that a test defines itself
            self.refusals.append(str(error))
            return result
        data = {one.name: np.concatenate(group) for one, group in zip(inputs, zip(*batches, strict=True), strict=True)}
        try:
            ours = replay(path, data, "float32", rows=len(given[0])).outputs
        except GateprobeError as error:
            self.refusals.append(str(error))
            return result
        self.answered += 1
        last = iter([one[-len(given[0]) :] for one in ours])
        return _put(result, last)

    def _save(self, layer: Any, given: list[np.ndarray], args: Any, kwargs: Any, path: str) -> list[Any]:
        """Save a model of the one call; returns its inputs."""
        import keras

        inputs = [keras.Input(batch_shape=one.shape, dtype=one.dtype.name) for one in given]
        symbolic_args, symbolic_kwargs = _put([args, kwargs], iter(inputs))
        model = keras.Model(inputs, self.original(layer, *symbolic_args, **symbolic_kwargs))
        model.save(path)
        return inputs


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [item for one in value.values() for item in _flat(one)]
    if isinstance(value, (list, tuple)):
        return [item for one in value for item in _flat(one)]
    return [] if value is None or isinstance(value, (bool, str)) else [value]


def _put(value: Any, left: Any) -> Any:
    """Put others in place of the arrays in a nested value."""
    if isinstance(value, dict):
        return {key: _put(one, left) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_put(one, left) for one in value]
    return value if value is None or isinstance(value, (bool, str)) else next(left)


def _stateful(layer: Any) -> bool:
    return any(getattr(one, "stateful", False) for one in layer._flatten_layers())


def cases() -> list[tuple[type[unittest.TestCase], str]]:
    """Return the tests with numbers in them."""
    found = []
    for name in MODULES:
        module = importlib.import_module(name)
        for case in vars(module).values():
            if isinstance(case, type) and issubclass(case, unittest.TestCase) and case.__module__ == name:
                found += [(case, method) for method in dir(case) if method.startswith("test_")]
    return [(case, method) for case, method in found if "basics" not in method and "torch" not in method]


def judge(suffix: str, folder: Path) -> dict[str, Any]:
    """Run the tests on the replay of files of one format."""
    from keras.src.layers.layer import Layer
    from keras.src.layers.rnn.rnn import RNN

    answers = Answers(Layer.__call__, folder, suffix)
    original_reset = RNN.reset_state

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return answers.call(layer, *args, **kwargs)

    def reset(layer: Any) -> None:
        answers.history.clear()
        original_reset(layer)

    failed, ran, by_module = [], 0, Counter[str]()
    with mock.patch.object(Layer, "__call__", call), mock.patch.object(RNN, "reset_state", reset):
        for case, method in cases():
            result, before = unittest.TestResult(), answers.answered
            case(method).run(result)
            by_module[case.__module__.rpartition(".")[2].removesuffix("_test")] += answers.answered - before
            ran += result.testsRun - len(result.skipped)
            failed += [f"{case.__name__}.{method}: {text[-800:]}" for _, text in result.failures + result.errors]
    return {"ran": ran, "answered": by_module, "failed": failed, "refused": answers.refusals}


def main() -> None:
    """Print what was found as JSON."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(json.dumps(judge(sys.argv[1], Path(folder))) + "\n")


if __name__ == "__main__":
    main()
