"""Golden vectors as C99: headers, data, a reference step, and a checker that names the first wrong value.

The sources compile with ``cc -std=c99 -Wall -Wextra -Werror -pedantic``. A port replaces ``golden_step.c`` by its own
functions of the same names. Names of layers come from a file, so that only letters, digits and ``_`` of them get into
the sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gateprobe.errors import Refusal, UnsupportedModel
from gateprobe.golden.vectors import Vectors
from gateprobe.graph import Array

_FUNCTIONS: Mapping[str, str] = {
    "linear": "x",
    "tanh": "tanh(x)",
    "sigmoid": "1.0 / (1.0 + exp(-x))",
    "hard_sigmoid[slope=0.2]": "fmin(fmax(0.2 * x + 0.5, 0.0), 1.0)",
    "hard_sigmoid[slope=1/6]": "fmin(fmax(x / 6.0 + 0.5, 0.0), 1.0)",
    "relu": "fmax(x, 0.0)",
    "relu[max_value=6]": "fmin(fmax(x, 0.0), 6.0)",
    "elu": "x > 0.0 ? x : expm1(x)",
    "selu": "1.0507009873554805 * (x > 0.0 ? x : 1.6732632423543772 * expm1(x))",
    "silu": "x / (1.0 + exp(-x))",
    "softplus": "x > 0.0 ? x + log1p(exp(-x)) : log1p(exp(x))",
    "softsign": "x / (1.0 + fabs(x))",
    "exponential": "exp(x)",
}
"""Label of an activation → its formula in C, in double."""
_HEAD = "/* Golden vectors, made by gateprobe. Do not edit. */\n"
_BUILD = "cc -std=c99 -Wall -Wextra -Werror -pedantic *.c -lm -o golden_check && ./golden_check"


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One direction of a layer, with its name in C and its gates in the order that was asked for."""

    vectors: Vectors
    name: str
    gates: tuple[str, ...]
    transpose: bool
    """Whether kernels are ``[gate][unit][feature]`` instead of ``[gate][feature][unit]``."""

    @property
    def macro(self) -> str:
        """The name in capitals."""
        return self.name.upper()

    def weights(self) -> dict[str, Array]:
        """Return name → array, gates first."""
        anatomy = self.vectors.anatomy
        found = {"kernel": self._by_gate(anatomy.kernel), "recurrent_kernel": self._by_gate(anatomy.recurrent_kernel)}
        if self.transpose:
            found = {name: np.swapaxes(value, 1, 2) for name, value in found.items()}
        for name, bias in (("bias", anatomy.bias), ("recurrent_bias", anatomy.recurrent_bias)):
            if bias is not None:
                found[name] = self._by_gate(bias)
        return found

    def _by_gate(self, weight: Array) -> Array:
        parts = self.vectors.anatomy.split(weight)
        return np.stack([parts[gate] for gate in self.gates])

    def at(self, name: str, gate: str, row: str) -> str:
        """Return the element of a kernel for a feature or unit ``row`` and the unit ``u``."""
        index = f"[u][{row}]" if self.transpose else f"[{row}][u]"
        return f"(double){self.name}_{name}[{gate}]{index}"

    def bias_at(self, name: str, gate: str) -> str:
        """Return the element of a bias for the unit ``u``; 0 where there is none."""
        return f"(double){self.name}_{name}[{gate}][u]" if name in self.weights() else "0.0"

    def data(self) -> dict[str, Array]:
        """Return name → array of what a port is given and must compute."""
        vectors = self.vectors
        found = {"x": vectors.x}
        if vectors.mask is not None:
            found["mask"] = vectors.mask.astype(np.uint8)
        found |= {f"initial_{name}": value for name, value in vectors.states.items()}
        for prefix in ("pre_", ""):
            stacked = [vectors.signals[f"{prefix}{gate}"] for gate in self.gates]
            if vectors.gates or prefix:
                found[f"{prefix}gates"] = np.stack(stacked, axis=2)
        return found | {name: vectors.signals[name] for name in vectors.states}


def blocks_of(found: Sequence[Vectors], orders: Mapping[str, tuple[str, ...]], *, transpose: bool) -> list[Block]:
    """Give each direction a name in C.

    Args:
        found: The vectors.
        orders: ``layer/direction`` → gates in the order that was asked for.
        transpose: See `Block`.
    """
    taken: set[str] = set()
    blocks = []
    for vectors in found:
        name = re.sub(r"\W", "_", f"{vectors.layer}_{vectors.direction}", flags=re.ASCII).lower()
        name = name if name[0].isalpha() else f"layer_{name}"
        while name in taken:
            name += "_"
        taken.add(name)
        blocks.append(Block(vectors, name, orders[f"{vectors.layer}/{vectors.direction}"], transpose))
    return blocks


def sources(blocks: Sequence[Block]) -> dict[str, str]:
    """Return file name → text.

    Raises:
        UnsupportedModel: An activation has no formula in C here.
    """
    return {
        "golden.h": _header(blocks),
        "golden_weights.c": _definitions(blocks, weights=True),
        "golden_vectors.c": _definitions(blocks, weights=False),
        "golden_step.c": _steps(blocks),
        "golden_check.c": _checker(blocks),
    }


def _header(blocks: Sequence[Block]) -> str:
    double = any(block.vectors.x.dtype == np.float64 for block in blocks)
    lines = [
        _HEAD,
        "#ifndef GOLDEN_H",
        "#define GOLDEN_H",
        "",
        f"typedef {'double' if double else 'float'} golden_real;",
    ]
    for block in blocks:
        lines += ["", *_declarations(block)]
    return "\n".join([*lines, "", "#endif", ""])


def _declarations(block: Block) -> Iterator[str]:
    vectors, macro = block.vectors, block.macro
    yield f"/* {vectors.kind}, {vectors.direction}; sequences are in the order of processing */"
    sizes = {
        "UNITS": vectors.units,
        "FEATURES": vectors.x.shape[2],
        "GATES": len(block.gates),
        "SAMPLES": vectors.x.shape[0],
        "STEPS": vectors.x.shape[1],
    }
    yield from (f"#define {macro}_{name} {value}" for name, value in sizes.items())
    yield from (f"#define {macro}_{gate.upper()} {number}" for number, gate in enumerate(block.gates))
    for name, tolerance in vectors.tolerances.items():
        yield f"#define {macro}_TOLERANCE_{name.upper()} {tolerance:.3e}"
    for name, value in {**block.weights(), **block.data()}.items():
        yield f"extern {_declared(block, name, value)};"
    yield "/* Reads x[FEATURES], replaces the states, gives each gate before (pre) and after its activation. */"
    yield f"{_signature(block)};"


def _declared(block: Block, name: str, value: Array) -> str:
    kind = "unsigned char" if value.dtype == np.uint8 else "golden_real"
    return f"const {kind} {block.name}_{name}{''.join(f'[{size}]' for size in value.shape)}"


def _signature(block: Block) -> str:
    states = "golden_real *h, golden_real *c" if "cell_state" in block.vectors.states else "golden_real *h"
    gates = f"golden_real pre[{len(block.gates)}][{block.vectors.units}]"
    after = f"golden_real gates[{len(block.gates)}][{block.vectors.units}]"
    return f"void {block.name}_step(const golden_real *x, {states}, {gates}, {after})"


def _definitions(blocks: Sequence[Block], *, weights: bool) -> str:
    lines = [_HEAD, '#include "golden.h"']
    for block in blocks:
        arrays = block.weights() if weights else block.data()
        for name, value in arrays.items():
            lines += ["", f"{_declared(block, name, value)} =", f"{_braced(value)};"]
    return "\n".join([*lines, ""])


def _braced(value: Array) -> str:
    if value.ndim > 1:
        return "{" + ",\n".join(_braced(part) for part in value) + "}"
    return "{" + ", ".join(_number(one) for one in value) + "}"


def _number(value: np.generic) -> str:
    """Return a number that reads back exactly; what is not used at a masked step is 0."""
    if isinstance(value, np.uint8):
        return str(int(value))
    if not np.isfinite(value):
        return "0.0F" if value.dtype == np.float32 else "0.0"
    single = value.dtype == np.float32
    text = f"{float(value):.{9 if single else 17}g}"
    text = text if re.search(r"[.e]", text) else f"{text}.0"
    return f"{text}F" if single else text


def _steps(blocks: Sequence[Block]) -> str:
    used = dict.fromkeys(label for block in blocks for label in _labels(block))
    lines = [
        _HEAD,
        "/* The step as Keras computes it. Put your port in the place of this file. */",
        "#include <math.h>",
        "#include <string.h>",
        "",
        '#include "golden.h"',
    ]
    for number, label in enumerate(used):
        lines += ["", f"static double activation_{number}(double x) {{ return {_FUNCTIONS[label]}; }}"]
    names = {label: f"activation_{number}" for number, label in enumerate(used)}
    for block in blocks:
        lines += ["", *_step(block, names)]
    return "\n".join([*lines, ""])


def _labels(block: Block) -> Iterator[str]:
    anatomy = block.vectors.anatomy
    found = [anatomy.activations[gate].label for gate in block.gates]
    found += [] if anatomy.output_activation is None else [anatomy.output_activation.label]
    for label in found:
        if label not in _FUNCTIONS:
            reason = f"its activation {label} has no formula in C here: make JSON and NPZ without the C sources"
            raise UnsupportedModel([Refusal(block.vectors.layer, block.vectors.kind, reason)])
        yield label


def _step(block: Block, names: Mapping[str, str]) -> Iterator[str]:
    vectors, macro, anatomy = block.vectors, block.macro, block.vectors.anatomy
    lstm, gru = vectors.kind == "LSTM", vectors.kind == "GRU"
    at, bias = block.at, block.bias_at
    yield _signature(block)
    yield "{"
    yield f"    golden_real before[{macro}_UNITS];"
    yield "    int g, u, k;"
    yield "    memcpy(before, h, sizeof before);"
    yield f"    for (g = 0; g < {macro}_GATES; ++g)"
    yield f"        for (u = 0; u < {macro}_UNITS; ++u) {{"
    yield f"            double from_x = {bias('bias', 'g')}, from_h = {bias('recurrent_bias', 'g')};"
    yield f"            for (k = 0; k < {macro}_FEATURES; ++k) from_x += (double)x[k] * {at('kernel', 'g', 'k')};"
    recurrent = at("recurrent_kernel", "g", "k")
    yield f"            for (k = 0; k < {macro}_UNITS; ++k) from_h += (double)before[k] * {recurrent};"
    if gru:
        yield f"            if (g == {macro}_CANDIDATE) continue;"
    yield "            pre[g][u] = (golden_real)(from_x + from_h);"
    yield "        }"
    if gru:
        yield from _gate_loops(block, names, ("update_gate", "reset_gate"))
        yield from _candidate(block)
        yield from _gate_loops(block, names, ("candidate",))
        yield f"    for (u = 0; u < {macro}_UNITS; ++u) {{"
        yield f"        double z = (double)gates[{macro}_UPDATE_GATE][u];"
        yield f"        h[u] = (golden_real)(z * (double)before[u] + (1.0 - z) * (double)gates[{macro}_CANDIDATE][u]);"
        yield "    }"
    else:
        yield from _gate_loops(block, names, block.gates)
        yield f"    for (u = 0; u < {macro}_UNITS; ++u) {{"
        if lstm:
            assert anatomy.output_activation is not None
            kept = f"(double)gates[{macro}_FORGET_GATE][u] * (double)c[u]"
            written = f"(double)gates[{macro}_INPUT_GATE][u] * (double)gates[{macro}_CANDIDATE][u]"
            out = names[anatomy.output_activation.label]
            yield f"        c[u] = (golden_real)({kept} + {written});"
            yield f"        h[u] = (golden_real)((double)gates[{macro}_OUTPUT_GATE][u] * {out}((double)c[u]));"
        else:
            yield "        h[u] = gates[0][u];"
        yield "    }"
    yield "}"


def _candidate(block: Block) -> Iterator[str]:
    """Yield the sum of a GRU's candidate, which the reset gate changes."""
    macro, gate, at, bias = block.macro, f"{block.macro}_CANDIDATE", block.at, block.bias_at
    yield f"    for (u = 0; u < {macro}_UNITS; ++u) {{"
    yield f"        double from_x = {bias('bias', gate)}, from_h = {bias('recurrent_bias', gate)};"
    yield f"        for (k = 0; k < {macro}_FEATURES; ++k) from_x += (double)x[k] * {at('kernel', gate, 'k')};"
    state = "(double)before[k]"
    if not block.vectors.anatomy.reset_after:
        state = f"(double)before[k] * (double)gates[{macro}_RESET_GATE][k]"
    yield f"        for (k = 0; k < {macro}_UNITS; ++k) from_h += {state} * {at('recurrent_kernel', gate, 'k')};"
    if block.vectors.anatomy.reset_after:
        yield f"        from_h *= (double)gates[{macro}_RESET_GATE][u];"
    yield f"        pre[{gate}][u] = (golden_real)(from_x + from_h);"
    yield "    }"


def _gate_loops(block: Block, names: Mapping[str, str], gates: Iterable[str]) -> Iterator[str]:
    macro = block.macro
    for gate in gates:
        index = f"{macro}_{gate.upper()}"
        function = names[block.vectors.anatomy.activations[gate].label]
        yield f"    for (u = 0; u < {macro}_UNITS; ++u)"
        yield f"        gates[{index}][u] = (golden_real){function}((double)pre[{index}][u]);"


_COMPARE = """
static int wrong(const char *where, int sample, int step, int timestep, const char *signal, int unit,
                 golden_real ours, golden_real expected, double tolerance)
{
    if (fabs((double)ours - (double)expected) <= tolerance) return 0; /* false for NaN, too */
    printf("WRONG: %s, sample %d, step %d (timestep %d), %s, unit %d: %.9g, expected %.9g (tolerance %.1e)\\n",
           where, sample, step, timestep, signal, unit, (double)ours, (double)expected, tolerance);
    return 1;
}
"""


def _checker(blocks: Sequence[Block]) -> str:
    lines = [
        _HEAD,
        f"/* {_BUILD}",
        "   Exit status: 0 when every value agrees, 1 at the first one that does not, which is named.",
        "   -DGOLDEN_NO_PRE leaves out the sums before the activations. */",
        "#include <math.h>",
        "#include <stdio.h>",
        "#include <string.h>",
        "",
        '#include "golden.h"',
        _COMPARE,
    ]
    for block in blocks:
        lines += [*_check(block), ""]
    lines += ["int main(void)", "{", "    long checked = 0;"]
    lines += [f"    if (check_{block.name}(&checked)) return 1;" for block in blocks]
    lines += ['    printf("AGREES: %ld values\\n", checked);', "    return 0;", "}", ""]
    return "\n".join(lines)


def _check(block: Block) -> Iterator[str]:
    vectors, macro, name = block.vectors, block.macro, block.name
    lstm = "cell_state" in vectors.states
    where = f"{vectors.layer}/{vectors.direction}"
    literal = _literal(where)
    timesteps = ", ".join(map(str, vectors.timesteps.tolist()))
    yield f"static int check_{name}(long *checked)"
    yield "{"
    yield f"    static const int timesteps[{macro}_STEPS] = {{{timesteps}}};"
    yield f"    golden_real h[{macro}_UNITS], pre[{macro}_GATES][{macro}_UNITS], gates[{macro}_GATES][{macro}_UNITS];"
    if lstm:
        yield f"    golden_real c[{macro}_UNITS];"
    yield "    int sample, step, u;"
    yield f"    for (sample = 0; sample < {macro}_SAMPLES; ++sample) {{"
    yield f"        memcpy(h, {name}_initial_hidden_state[sample], sizeof h);"
    if lstm:
        yield f"        memcpy(c, {name}_initial_cell_state[sample], sizeof c);"
    yield f"        for (step = 0; step < {macro}_STEPS; ++step) {{"
    if vectors.mask is not None:
        yield f"            if (!{name}_mask[sample][step]) continue; /* masked: the states are held */"
    yield f"            {name}_step({name}_x[sample][step], h, {'c, ' if lstm else ''}pre, gates);"
    yield from _compared(block, literal)
    yield "        }"
    yield "    }"
    yield "    return 0;"
    yield "}"


def _compared(block: Block, literal: str) -> Iterator[str]:
    """Yield the comparisons of one step, in the order of computing."""
    vectors, macro, name = block.vectors, block.macro, block.name
    place = f"{literal}, sample, step, timesteps[step]"

    def loop(signal: str, ours: str, expected: str) -> Iterator[str]:
        yield f"            for (u = 0; u < {macro}_UNITS; ++u, ++*checked)"
        yield (
            f'                if (wrong({place}, "{signal}", u, {ours}[u], {expected}[u], '
            f"{macro}_TOLERANCE_{signal.upper()})) return 1;"
        )

    keras = vectors.anatomy.gates
    yield "#ifndef GOLDEN_NO_PRE"
    for gate in keras:
        index = f"{macro}_{gate.upper()}"
        yield from loop(f"pre_{gate}", f"pre[{index}]", f"{name}_pre_gates[sample][step][{index}]")
    yield "#endif"
    for gate in keras if vectors.gates else ():
        index = f"{macro}_{gate.upper()}"
        yield from loop(gate, f"gates[{index}]", f"{name}_gates[sample][step][{index}]")
    if "cell_state" in vectors.states:
        yield from loop("cell_state", "c", f"{name}_cell_state[sample][step]")
    yield from loop("hidden_state", "h", f"{name}_hidden_state[sample][step]")


def _literal(text: str) -> str:
    """Return a C string of harmless characters: no quotes, no trigraphs, no directives."""
    return '"' + re.sub(r"[^A-Za-z0-9_./:\- ]", "_", text) + '"'
