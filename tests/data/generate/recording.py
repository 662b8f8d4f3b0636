"""What the scripts that record rules share; runs under Python 3.6 to 3.11 and every Keras.

A script holds one function for each rule of ``gateprobe/semantics.py``, of the same name. It returns a model in which
the rule decides the numbers, and the model's inputs.
"""

import json
import os
import sys
import traceback

import numpy as np

RANDOM = np.random.RandomState(7)


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def series(masked=2, samples=2, timesteps=4, features=3):
    """Return a sequence whose last sample begins and ends with masked timesteps, which are zeros."""
    x = normal(samples, timesteps, features)
    x[-1, :1] = x[-1, timesteps - masked + 1 :] = 0
    return x


def record(folder, functions, suffix, predict, gates=None, change=None):
    """Save the model of each function, its inputs, what this Keras makes of them, and gates.

    Args:
        folder: One more for each rule is made in it.
        functions: Each returns a model and its inputs.
        suffix: Of the files.
        predict: Takes a model and its inputs, returns the outputs.
        gates: Takes a model and its inputs, returns the signals of its LSTM where it has exactly one.
        change: Takes the path of a saved file and the rule, may change the file, and then returns the model in it.
    """
    os.makedirs(folder, exist_ok=True)
    for function in functions:
        rule = function.__name__
        RANDOM.seed(sum(map(ord, rule)))
        try:
            model, inputs = function()
            model.set_weights([scaled(weight) for weight in model.get_weights()])
            arrays = {"input_%d" % n: x for n, x in enumerate(inputs)}
            path = os.path.join(folder, rule + suffix)
            model.save(path)
            model = (change and change(path, rule)) or model
            arrays.update({"output_%d" % n: np.asarray(y) for n, y in enumerate(predict(model, inputs))})
            arrays.update(gates(model, inputs) if gates else {})
            np.savez_compressed(os.path.join(folder, rule + ".npz"), **arrays)
        except Exception:  # not every Keras knows every layer: the tests say which rules they need of it
            sys.stdout.write("%s: not recorded: %s\n" % (rule, traceback.format_exc().strip().splitlines()[-1][:300]))
            for end in (suffix, ".npz"):
                if os.path.exists(os.path.join(folder, rule + end)):
                    os.unlink(os.path.join(folder, rule + end))


def scaled(weight):
    """Return a random weight for a given one."""
    if weight.dtype.kind != "f" or weight.ndim == 0:
        return weight
    values = RANDOM.normal(size=weight.shape) * 0.7
    return (np.abs(values) + 0.5 if (weight == 1).all() else values).astype(weight.dtype)  # a variance is positive


def stepped(step, recurrent_activation, x, mask, units, evaluate, constant):
    """Step an LSTM's own cell through time and return its gates and states, ``(samples, timesteps, units)`` each.

    Args:
        step: Takes the input of a timestep, the states, and the taps for both activations; returns the new states.
        recurrent_activation: Names of the gates in the order in which the cell computes them.
        x: ``(samples, timesteps, features)``.
        mask: ``(samples, timesteps)``; states are held where it is false.
        units: Of the cell.
        evaluate: Makes arrays of tensors.
        constant: Makes a tensor of an array.
    """
    states = [np.zeros((len(x), units), "float32")] * 2
    trace = {name: [] for name in recurrent_activation + ("candidate", "hidden_state", "cell_state")}
    for t in range(x.shape[1]):
        gates, squashed = [], []
        new = step(constant(x[:, t]), [constant(state) for state in states], gates, squashed)
        values = evaluate(gates + squashed[:1] + list(new))
        kept = mask[:, t, np.newaxis]
        states = [np.where(kept, value, state) for value, state in zip(values[-2:], states)]
        for name, value in zip(recurrent_activation + ("candidate",), values):
            trace[name].append(np.where(kept, value, np.float32("nan")))
        trace["hidden_state"].append(states[0])
        trace["cell_state"].append(states[1])
    return {name: np.stack(values, 1).astype("float32") for name, values in trace.items()}


def tap(function, found):
    """Return a function that keeps what it returns."""

    def tapped(value):
        found.append(function(value))
        return found[-1]

    return tapped


def without_setting(path, setting):
    """Remove a setting from the architecture in an HDF5 file, as files have it that are older than the setting."""
    import h5py

    with h5py.File(path, "r+") as file:
        stored = file.attrs["model_config"]
        text = stored.decode() if isinstance(stored, bytes) else stored
        file.attrs["model_config"] = json.dumps(_without(json.loads(text), setting)).encode()


def _without(value, setting):
    if isinstance(value, dict):
        return {key: _without(item, setting) for key, item in value.items() if key != setting}
    return [_without(item, setting) for item in value] if isinstance(value, list) else value
