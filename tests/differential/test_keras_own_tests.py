"""Keras's own tests of recurrent layers accept the replay's numbers in place of Keras's; see ``own_tests.py``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = (
    "lstm gru simple_rnn bidirectional stacked_rnn_cells time_distributed conv_lstm1d conv_lstm2d conv_lstm3d"
    " masking".split()
)

pytestmark = [pytest.mark.oracle, pytest.mark.slow]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_keras_tests_accept_the_replay(suffix):
    pytest.importorskip("keras.src.layers.rnn.lstm_test", reason="Keras 3 with its tests", exc_type=ImportError)
    command = [sys.executable, "-m", "differential.own_tests", suffix]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], env=quiet, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["failed"], "\n".join(found["failed"])
    assert found["ran"] > 40
    assert sum(found["answered"].values()) > 80, found
    without = [name for name in MODULES if not found["answered"].get(name)]
    assert not without, found
