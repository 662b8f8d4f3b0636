"""An LSTM in plain Python, one number at a time: the independent oracle of the tests.

Written from the equations of Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000), with Keras's
column order i | f | c | o. It shares no code with the package and needs no NumPy.
"""

import math


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def lstm(inputs, kernel, recurrent, bias, hidden, cell, gate=sigmoid, squash=math.tanh):
    """Step over ``inputs`` (a list of feature lists); return one dict of lists for each timestep."""
    units, trace = len(hidden), []
    for x in inputs:
        z = [
            bias[column]
            + sum(value * kernel[k][column] for k, value in enumerate(x))
            + sum(value * recurrent[k][column] for k, value in enumerate(hidden))
            for column in range(4 * units)
        ]
        i, f, o = ([gate(z[k * units + u]) for u in range(units)] for k in (0, 1, 3))
        g = [squash(z[2 * units + u]) for u in range(units)]
        cell = [f[u] * cell[u] + i[u] * g[u] for u in range(units)]
        hidden = [o[u] * squash(cell[u]) for u in range(units)]
        names = ("input_gate", "forget_gate", "candidate", "output_gate", "cell_state", "hidden_state")
        trace.append(dict(zip(names, (i, f, g, o, cell, hidden), strict=True)))
    return trace


def gru(inputs, kernel, recurrent, bias, hidden, recurrent_bias=None, gate=sigmoid, squash=math.tanh):
    """Step a GRU (Cho et al. 2014), columns z | r | h; a recurrent bias makes it reset after the product, as CuDNN."""
    units, trace = len(hidden), []
    for x in inputs:
        from_x = [
            bias[column] + sum(value * kernel[k][column] for k, value in enumerate(x)) for column in range(3 * units)
        ]

        def from_h(column, states):
            added = 0 if recurrent_bias is None else recurrent_bias[column]
            return added + sum(value * recurrent[k][column] for k, value in enumerate(states))

        z = [gate(from_x[u] + from_h(u, hidden)) for u in range(units)]
        r = [gate(from_x[units + u] + from_h(units + u, hidden)) for u in range(units)]
        if recurrent_bias is None:
            reset = [r[u] * hidden[u] for u in range(units)]
            g = [squash(from_x[2 * units + u] + from_h(2 * units + u, reset)) for u in range(units)]
        else:
            g = [squash(from_x[2 * units + u] + r[u] * from_h(2 * units + u, hidden)) for u in range(units)]
        hidden = [z[u] * hidden[u] + (1 - z[u]) * g[u] for u in range(units)]
        names = ("update_gate", "reset_gate", "candidate", "hidden_state")
        trace.append(dict(zip(names, (z, r, g, hidden), strict=True)))
    return trace
