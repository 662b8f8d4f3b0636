"""LSTM and GRU in plain Python, one number at a time, with switches for the mistakes that ports make.

Independent of the package: written from the equations, without NumPy. Weights are nested lists in Keras's layout.
"""

import math

from scalar_lstm import sigmoid

GATES = {"lstm": "ifgo", "gru": "zrg"}
NAMES = {
    "i": "input_gate", "f": "forget_gate", "g": "candidate", "o": "output_gate", "c": "cell_state",
    "h": "hidden_state", "z": "update_gate", "r": "reset_gate",
}  # fmt: skip


def identity(x):
    return x


def relu(x):
    return max(x, 0.0)


def hard(slope):
    return lambda x: min(max(slope * x + 0.5, 0.0), 1.0)


def table(function, reach, pieces):
    knots = [-reach + 2 * reach * k / pieces for k in range(pieces + 1)]
    values = [function(knot) for knot in knots]

    def looked_up(x):
        if x <= knots[0]:
            return values[0]
        for left, right, a, b in zip(knots, knots[1:], values, values[1:], strict=False):
            if x <= right:
                return a + (b - a) * (x - left) / (right - left)
        return values[-1]

    return looked_up


def fixed(bits, whole):
    step = 2.0**-bits

    def settled(x):
        return min(max(math.floor(x / step + 0.5) * step, -(2.0**whole)), 2.0**whole - step)

    return settled


DEFAULTS = {
    "order": None,  # letters: which gate the port takes from each block of columns
    "gate": sigmoid,
    "candidate": math.tanh,
    "output": math.tanh,
    "transposed": False,
    "bias": 1.0,
    "forget_bias": 0.0,
    "reversed": False,  # reads the input from its end and logs as it goes
    "reads_backwards": False,
    "unaligned": False,  # rows in the order in which a backward layer works
    "heeds_mask": True,
    "carried": False,
    "reset": False,
    "heeds_initial": True,
    "after": False,
    "in_place": False,
    "cudnn": False,
    "reset_after": None,
    "features": None,
    "settle": identity,
    "rounded": identity,
}


def port(kind, x, weights, *, backwards=False, reset_after=True, mask=None, initial=None, **switches):
    """Run over samples (lists of timesteps of features); return name → samples × timesteps × units."""
    how = {**DEFAULTS, **switches}
    units = len(weights[1])
    zero = [[0.0] * units for _ in range(2)]
    reads = how["reads_backwards"] or how["reversed"] or backwards
    reads = reads and not (backwards and switches.get("reads_backwards") is False)
    cell = _cell(kind, weights, reset_after if how["reset_after"] is None else how["reset_after"], how)
    states, logs = None, []
    for n, sample in enumerate(x):
        if states is None or not how["carried"]:
            states = [list(s) for s in (zero if initial is None or not how["heeds_initial"] else initial[n])]
        steps = list(range(len(sample)))[:: -1 if reads else 1]
        rows = {}
        for number, t in enumerate(steps):
            kept = mask is None or not how["heeds_mask"] or mask[n][t]
            before = zero if how["reset"] else states
            log, new = cell(sample[t], before)
            if not kept:
                new = states
                log = {
                    **dict.fromkeys(log, [math.nan] * units),
                    "h": new[0],
                    **({"c": new[1]} if kind == "lstm" else {}),
                }
            states = new
            rows[number if how["reversed"] or how["unaligned"] else t] = log
        logs.append([rows[t] for t in range(len(sample))])
    return {NAMES[letter]: [[row[letter] for row in sample] for sample in logs] for letter in logs[0][0]}


def _cell(kind, weights, reset_after, how):  # noqa: PLR0915 - one closure for each equation
    gates, settle = GATES[kind], how["settle"]
    kernel, recurrent, bias = weights
    count, units = len(gates), len(recurrent)
    order = how["order"] or gates
    features = how["features"] or range(len(kernel))

    def column(gate, unit):
        return order.index(gate) * units + unit

    def kernel_at(k, gate, unit):
        if how["cudnn"]:  # the block as CuDNN would keep it, row by row
            block, rows = order.index(gate) * units, len(kernel)
            flat = k + rows * unit  # of the Fortran order of (rows, units)
            a, b = flat % units, flat // units  # in (units, rows), Fortran order
            return how["rounded"](kernel[b][block + a])
        return how["rounded"](kernel[k][column(gate, unit)])

    def recurrent_at(k, gate, unit):
        if how["transposed"] != how["cudnn"]:
            return how["rounded"](recurrent[unit][order.index(gate) * units + k])
        return how["rounded"](recurrent[k][column(gate, unit)])

    def bias_at(gate, unit, half=None):
        if bias is None:
            return 0.0
        rows = bias if isinstance(bias[0], list) else [bias]
        rows = rows if half is None else rows[half : half + 1]
        return how["bias"] * sum(how["rounded"](row[column(gate, unit)]) for row in rows)

    def product(values, at, gate, unit):
        return sum(value * at(k, gate, unit) for k, value in enumerate(values))

    def gate_of(gate, unit, x, h):
        z = product(x, kernel_at, gate, unit) + product(h, recurrent_at, gate, unit) + bias_at(gate, unit)
        z += how["forget_bias"] if gate == "f" else 0.0
        return settle((how["candidate"] if gate == "g" else how["gate"])(settle(z)))

    def lstm(x, states):
        x = [settle(x[k]) for k in features]
        h, c = states
        h_new, c_new = (list(h), list(c)) if how["in_place"] else ([0.0] * units, [0.0] * units)
        log = {gate: [0.0] * units for gate in gates}
        for u in range(units):
            seen = h_new if how["in_place"] else h
            for gate in gates:
                log[gate][u] = gate_of(gate, u, x, seen)
            c_new[u] = settle(log["f"][u] * c[u] + log["i"][u] * log["g"][u])
            h_new[u] = settle(log["o"][u] * how["output"](c_new[u]))
        if how["after"]:
            log = {gate: [gate_of(gate, u, x, h_new) for u in range(units)] for gate in gates}
        return {**log, "c": c_new, "h": h_new}, [h_new, c_new]

    def gru_gates(x, h, u):
        z, r = (gate_of(gate, u, x, h) for gate in "zr")
        if reset_after:
            inner = product(h, recurrent_at, "g", u) + (bias_at("g", u, 1) if isinstance(bias[0], list) else 0.0)
            pre = product(x, kernel_at, "g", u) + bias_at("g", u, 0) + r * inner
        else:
            rs = [gate_of("r", k, x, h) for k in range(units)]
            pre = product(x, kernel_at, "g", u) + bias_at("g", u)
            pre += product([a * b for a, b in zip(rs, h, strict=True)], recurrent_at, "g", u)
        return {"z": z, "r": r, "g": settle(how["candidate"](settle(pre)))}

    def gru(x, states):
        x = [settle(x[k]) for k in features]
        h = states[0]
        new = list(h)
        log = {gate: [0.0] * units for gate in gates}
        for u in range(units):
            found = gru_gates(x, new if how["in_place"] else h, u)
            for gate in gates:
                log[gate][u] = found[gate]
            new[u] = settle(found["z"] * h[u] + (1 - found["z"]) * found["g"])
        if how["after"]:
            after = [gru_gates(x, new, u) for u in range(units)]
            log = {gate: [one[gate] for one in after] for gate in gates}
        return {**log, "h": new}, [new, states[1]]

    assert count * units == len(recurrent[0])
    return {"lstm": lstm, "gru": gru}[kind]
