"""What ``gateprobe explain`` prints: text, Markdown, LaTeX and JSON of a step and of a ledger."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import click

from gateprobe.analysis.explain import Explanation, Gate, Term
from gateprobe.analysis.ledger import Ledger
from gateprobe.cli.layout import Column, Page
from gateprobe.cli.options import print_json
from gateprobe.errors import printable

JSON_FORMAT = 1
"""Version of the JSON's layout."""
_TOP = 5
"""Products of a sum that are shown unless asked otherwise; JSON has them all."""
_LEDGER_TOP = 20
_SIGNS = {"input_gate": "i", "forget_gate": "f", "candidate": "g", "output_gate": "o", "update_gate": "z",
          "reset_gate": "r", "cell_state": "c", "hidden_state": "h"}  # fmt: skip

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a sum: ``x[1]  1.0000 × 5.4509  5.4509``."""

    name: str
    product: str
    """Empty where there is only a number."""
    result: float


class Seen(Protocol):
    """What can be shown in each format."""

    @property
    def doubt(self) -> str | None:
        """What is wrong with the numbers, if anything is."""

    def text(self, top: int | None) -> None:
        """Print it for people."""

    def markdown(self, top: int | None) -> Iterator[str]:
        """Yield lines of Markdown."""

    def latex(self, top: int | None) -> Iterator[str]:
        """Yield lines of LaTeX."""

    def json(self, top: int | None) -> Json:
        """Return it JSON-ready."""


def show(seen: Seen, top: int | None, form: str) -> None:
    """Print what was found.

    Args:
        seen: A step, or a ledger.
        top: How many parts of each sum to show.
        form: ``text``, ``markdown``, ``latex`` or ``json``.
    """
    if form == "text":
        seen.text(top)
    elif form == "json":
        print_json(seen.json(top))
    else:
        for line in seen.markdown(top) if form == "markdown" else seen.latex(top):
            click.echo(line)


# a step


@dataclass(frozen=True, slots=True, eq=False)
class Equation:
    """A worked step."""

    step: Explanation
    token: str | None
    doubt: str | None = None

    def text(self, top: int | None) -> None:
        """Print it for people: in a pipe a row for each part, else as it would be written by hand."""
        page, step = Page(), self.step
        for title in _heading(step, self.token):
            page.sentence(title)
        if page.width is None and step.gates:
            rows = [
                (gate.name, one.name, one.product, number(one.result)) for gate in step.gates for one in _sum(gate, top)
            ]
            page.table([Column(title) for title in ("gate", "part", "product", "value")], rows)
        for gate in step.gates if page.width is not None else ():
            page.line()
            page.line(_equation(gate), "bold")
            for line in _aligned(_sum(gate, top)):
                page.line(f"  {line}")
        for name, *equal in _states(step):
            page.line()
            for number_, text in enumerate(equal):
                page.line(f"{name if number_ == 0 else ' ' * len(name)} = {text}")

    def markdown(self, top: int | None) -> Iterator[str]:
        """Yield lines of Markdown."""
        first, *rest = _heading(self.step, self.token)
        yield from (f"## {_escaped(first)}", "", *map(_escaped, rest))
        for gate in self.step.gates:
            yield from ("", f"**{gate.name}**: {_equation(gate)}", "", "| part | product | value |", "|---|---|---:|")
            yield from (f"| {one.name} | {one.product} | {number(one.result)} |" for one in _sum(gate, top))
        for name, *equal in _states(self.step):
            title, sign = name.split("  ")
            yield from ("", f"**{title}**: {' = '.join((sign, *equal))}")

    def latex(self, top: int | None) -> Iterator[str]:
        """Yield an ``align*`` for the packages amsmath and amssymb, with what it is about in comments."""
        yield from (f"% {line}" for line in _heading(self.step, self.token))
        yield r"\begin{align*}"
        for gate in self.step.gates:
            yield from _latex_gate(gate, self.step, top)
        yield from _latex_states(self.step)
        yield r"\end{align*}"

    def json(self, top: int | None) -> Json:
        """Return everything, the largest products first."""
        step = self.step
        return {
            "format": JSON_FORMAT,
            "layer": step.layer,
            "direction": step.direction,
            "sample": step.sample,
            "unit": step.unit,
            "timestep": step.timestep,
            "step": step.step,
            "length": step.length,
            "token": self.token,
            "masked": step.masked,
            "before": step.before,
            "states_before": _finite(step.states_before),
            "gates": [_json_gate(gate, top) for gate in step.gates],
            "output_activation": step.output_activation,
            "activated_cell_state": _number(step.activated),
            "states": _finite(step.states),
        }


def number(value: float) -> str:
    """Return a number in four decimals, where that shows it, else in scientific notation."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".replace("-0", "0")
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"


def _heading(step: Explanation, token: str | None) -> Iterator[str]:
    label = "" if token is None else f", token {token!r}"
    where = f"unit {step.unit} at timestep {step.timestep} (of 0 to {step.length - 1}){label}, sample {step.sample}"
    yield printable(f"{step.layer}/{step.direction}: {where}")
    turned = f"; it is step {step.step}, the layer reads backwards" if step.step != step.timestep else ""
    states = step.states_before
    values = ", ".join(f"{_SIGNS[name]} = {number(states[name])}" for name in _last_first(states))
    source = f"{'from' if step.before.startswith('timestep') else 'which is'} {step.before}"
    yield printable(f"before: {values}, {source}{turned}")
    if step.masked:
        yield "the timestep is masked: nothing is computed, and the states are held"


def _sign(gate: Gate) -> str:
    return _SIGNS[gate.name]


def _equation(gate: Gate) -> str:
    return f"{gate.name}  {_sign(gate)} = {gate.activation}({number(gate.pre_activation)}) = {number(gate.value)}"


def _sum(gate: Gate, top: int | None) -> Iterator[Line]:
    """Yield the parts of a sum and, at last, the sum."""
    most = _TOP if top is None else top
    yield from _products(gate.inputs, most, "x")
    if gate.bias is not None:
        yield Line("bias", "", gate.bias)
    yield from _products(gate.recurrent, most, "h")
    if gate.recurrent_bias is not None:
        yield Line("recurrent bias", "", gate.recurrent_bias)
    if gate.reset is not None:
        times = f"{number(gate.reset)} × {number(gate.from_states)}"
        yield Line("r × (h and recurrent bias)", times, gate.reset * gate.from_states)
    if gate.peephole is not None:
        yield _line(gate.peephole)
    yield Line("sum", "", gate.pre_activation)


def _products(terms: Sequence[Term], top: int, name: str) -> Iterator[Line]:
    yield from map(_line, terms[:top])
    rest = terms[top:]
    if rest:
        label = f"{len(rest)} {'other' if top else 'product'}{'s' * (len(rest) > 1)} of {name}"
        yield Line(label, "", sum(term.product for term in rest))


def _line(term: Term) -> Line:
    return Line(term.name, f"{number(term.value)} × {number(term.weight)}", term.product)


def _aligned(lines: Iterable[Line]) -> Iterator[str]:
    """Yield lines with their columns below each other, and a rule above the sum."""
    cells = [(line.name, line.product, number(line.result)) for line in lines]
    name, product, value = (max(len(row[n]) for row in cells) for n in range(3))
    for row in cells:
        if row[0] == "sum":
            yield "─" * (name + product + value + 5)
        yield f"{row[0]:<{name}}  {row[1]:>{product}} {'=' if row[1] else ' '} {row[2]:>{value}}"


def _states(step: Explanation) -> Iterator[tuple[str, ...]]:
    """Yield how each new state follows from the gates: its name, and what it is equal to, in one or more steps."""
    gate = {one.name: number(one.value) for one in step.gates}
    after = {name: number(value) for name, value in step.states.items()}
    before = {name: number(value) for name, value in step.states_before.items()}
    if step.masked:
        yield from ((f"{name}  {_SIGNS[name]}", f"{after[name]}, held") for name in _last_first(after))
    elif "cell_state" in after:
        forget, write = step.gate("forget_gate").value, step.gate("input_gate").value
        kept, new = forget * step.states_before["cell_state"], write * step.gate("candidate").value
        products = f"{gate['forget_gate']} × {before['cell_state']} + {gate['input_gate']} × {gate['candidate']}"
        total = f"{number(kept)} + {number(new)} = {after['cell_state']}"
        yield "cell_state  c", "f × c_before + i × g", products, total
        out = f"{gate['output_gate']} × {number(step.activated or 0.0)} = {after['hidden_state']}"
        yield "hidden_state  h", f"o × {step.output_activation}(c)", out
    elif "update_gate" in gate:
        update, new = step.gate("update_gate").value, step.gate("candidate").value
        parts = number(update * step.states_before["hidden_state"]), number((1 - update) * new)
        products = f"{gate['update_gate']} × {before['hidden_state']} + {number(1 - update)} × {gate['candidate']}"
        total = f"{parts[0]} + {parts[1]} = {after['hidden_state']}"
        yield "hidden_state  h", "z × h_before + (1 - z) × g", products, total


def _last_first(names: Iterable[str]) -> list[str]:
    """Return the names of states in the order in which they are computed."""
    return list(names)[::-1]


def _escaped(text: str) -> str:
    """Escape what Markdown would take for markup in a name from a file."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>#|!" else character for character in text)


# LaTeX


def _latex_gate(gate: Gate, step: Explanation, top: int | None) -> Iterator[str]:
    most = _TOP if top is None else top
    parts = [_latex_product(term) for term in gate.inputs[:most]]
    rest = sum(term.product for term in gate.inputs[most:])
    states = [_latex_product(term) for term in gate.recurrent[:most]]
    rest_of_states = sum(term.product for term in gate.recurrent[most:])
    parts += [_latex_part(rest)] * (len(gate.inputs) > most)
    parts += [] if gate.bias is None else [_latex_part(gate.bias)]
    states += [_latex_part(rest_of_states)] * (len(gate.recurrent) > most)
    states += [] if gate.recurrent_bias is None else [_latex_part(gate.recurrent_bias)]
    if gate.reset is not None:
        states = [rf"{_latex_part(gate.reset)} \cdot ({' + '.join(states)})"]
    parts += states + ([] if gate.peephole is None else [_latex_product(gate.peephole)])
    name, at = _sign(gate), step.timestep
    yield rf"a^{{({name})}}_{{{at}}} &= {parts[0]} \\"
    yield from (rf"&\quad + {part} \\" for part in parts[1:])
    yield rf"&= {_latex_number(gate.pre_activation)} \\"
    activated = f"{_latex_word(gate.activation)}({_latex_number(gate.pre_activation)})"
    yield rf"{name}_{{{at}}} &= {activated} = {_latex_number(gate.value)} \\"


def _latex_product(term: Term) -> str:
    return rf"{_latex_part(term.value)} \cdot {_latex_part(term.weight)}"


def _latex_number(value: float) -> str:
    """Return a number that ends an equation."""
    if not math.isfinite(value):
        return r"\mathrm{nan}" if math.isnan(value) else rf"{'-' * (value < 0)}\infty"
    mantissa, _, exponent = number(value).partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa


def _latex_part(value: float) -> str:
    """Return a number inside a formula: in parentheses where that is needed."""
    text = _latex_number(value)
    return f"({text})" if text.startswith("-") or r"\cdot" in text else text


def _latex_word(label: str) -> str:
    plain = {"sigmoid": r"\sigma", "tanh": r"\tanh"}.get(label)
    return plain or rf"\mathrm{{{label.replace('_', chr(92) + '_')}}}"


def _latex_states(step: Explanation) -> Iterator[str]:
    at = f"{{{step.timestep}}}"
    value = {_SIGNS[name]: _latex_number(one) for name, one in step.states.items()}
    before = {_SIGNS[name]: _latex_part(one) for name, one in step.states_before.items()}
    gate = {_sign(one): one.value for one in step.gates}
    shown = {name: _latex_part(one) for name, one in gate.items()}
    if step.masked:
        lines = [rf"{name}_{at} &= {text} \quad\text{{(masked: held)}}" for name, text in list(value.items())[::-1]]
    elif "c" in value:
        word = _latex_word(step.output_activation or "")
        activated = _latex_part(step.activated or 0.0)
        lines = [
            rf"c_{at} &= f_{at} \cdot c' + i_{at} \cdot g_{at}",
            rf"&= {shown['f']} \cdot {before['c']} + {shown['i']} \cdot {shown['g']} = {value['c']}",
            rf"h_{at} &= o_{at} \cdot {word}(c_{at}) = {shown['o']} \cdot {activated} = {value['h']}",
        ]
    elif "z" in gate:
        lines = [
            rf"h_{at} &= z_{at} \cdot h' + (1 - z_{at}) \cdot g_{at}",
            rf"&= {shown['z']} \cdot {before['h']} + {_latex_part(1 - gate['z'])} \cdot {shown['g']} = {value['h']}",
        ]
    else:
        return
    yield from (rf"{line} \\" for line in lines[:-1])
    yield lines[-1]


# JSON


def _json_gate(gate: Gate, top: int | None) -> Json:
    return {
        "gate": gate.name,
        "inputs": [_json_term(term) for term in gate.inputs[:top]],
        "recurrent": [_json_term(term) for term in gate.recurrent[:top]],
        "from_inputs": _number(gate.from_inputs),
        "bias": _number(gate.bias),
        "from_states": _number(gate.from_states),
        "recurrent_bias": _number(gate.recurrent_bias),
        "reset": _number(gate.reset),
        "peephole": None if gate.peephole is None else _json_term(gate.peephole),
        "pre_activation": _number(gate.pre_activation),
        "activation": gate.activation,
        "value": _number(gate.value),
    }


def _json_term(term: Term) -> Json:
    parts = {"value": term.value, "weight": term.weight, "product": term.product}
    return {"name": term.name, **_finite(parts)}


def _number(value: float | None) -> float | None:
    """Return a number for JSON, which has neither NaN nor infinities."""
    return value if value is not None and math.isfinite(value) else None


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


# a ledger


@dataclass(frozen=True, slots=True, eq=False)
class LedgerTable:
    """A ledger of one unit, or of all."""

    ledger: Ledger
    layer: str
    direction: str
    sample: int
    begins: str
    """What the initial state is."""
    tokens: Mapping[int, str | None]
    """By timestep."""

    @property
    def doubt(self) -> str | None:
        """What is wrong with the numbers, if anything is."""
        found = self.ledger
        if found.adds_up:
            return None
        worst = float(abs(found.residual).max())
        return f"the parts do not add up to {found.state}: off by {worst:.3g}, which roundings do not explain"

    def text(self, top: int | None) -> None:
        """Print a table: of one unit what was written, kept and is left; of several what is left, a column for each."""
        page = Page()
        for line in self._heading():
            page.sentence(line)
        page.line()
        titles, rows = self._table(top, columns=None if page.width is None else _UNITS_SHOWN)
        page.table([Column(title) for title in titles], rows)
        if page.width is not None and len(self.ledger.units) > _UNITS_SHOWN:
            page.sentence(f"(of {len(self.ledger.units)} units; --unit shows one, --json all)")

    def markdown(self, top: int | None) -> Iterator[str]:
        """Yield lines of Markdown."""
        first, *rest = self._heading()
        yield from (f"## {_escaped(first)}", "", *map(_escaped, rest), "")
        titles, rows = self._table(top)
        yield f"| {' | '.join(map(_escaped, titles))} |"
        yield f"|{'|'.join('---' if title in _TEXTS else '---:' for title in titles)}|"
        yield from (f"| {' | '.join(map(_escaped, row))} |" for row in rows)

    def latex(self, top: int | None) -> Iterator[str]:
        """Yield a ``tabular``."""
        yield from (f"% {line}" for line in self._heading())
        titles, rows = self._table(top)
        yield rf"\begin{{tabular}}{{{''.join('l' if title in _TEXTS else 'r' for title in titles)}}}"
        yield rf"{' & '.join(titles)} \\ \hline"
        yield from (rf"{' & '.join(map(_latex_text, row))} \\" for row in rows)
        yield r"\end{tabular}"

    def json(self, top: int | None) -> Json:
        """Return everything, in the order in which it was written unless ``top`` asks for the largest parts."""
        found = self.ledger
        left = found.contribution
        rows = range(len(left)) if top is None else self._largest()[:top]
        return {
            "format": JSON_FORMAT,
            "layer": self.layer,
            "direction": self.direction,
            "sample": self.sample,
            "timestep": found.timestep,
            "state": found.state,
            "units": found.units.tolist(),
            "parts": [
                {
                    "timestep": int(found.written_at[row]),
                    "token": self.tokens.get(int(found.written_at[row])),
                    "written": _listed(found.written[row]),
                    "kept": _listed(found.kept[row]),
                    "left": _listed(left[row]),
                }
                for row in rows
            ],
            "initial": _listed(found.initial),
            "initial_from": self._initial,
            "sum": _listed(found.total),
            "value": _listed(found.value),
            "rounding": _listed(found.rounding),
            "adds_up": found.adds_up,
        }

    @property
    def _initial(self) -> str:
        since = self.ledger.since
        return printable(self.begins) if since is None else f"the state before timestep {since}, where the trace begins"

    def _heading(self) -> Iterator[str]:
        found = self.ledger
        token = self.tokens.get(found.timestep)
        label = "" if token is None else f", token {token!r}"
        units = f"unit {found.units[0]}" if len(found.units) == 1 else f"{len(found.units)} units"
        where = f"{found.state} of {units} at timestep {found.timestep}{label}, sample {self.sample}"
        yield printable(f"{self.layer}/{self.direction}: {where}")
        keeps = "update gates" if found.state == "hidden_state" else "forget gates"
        yield f"left = written × kept; kept is the product of the {keeps} since"

    def _largest(self) -> list[int]:
        sizes = abs(self.ledger.contribution).max(axis=1, initial=0)
        order: list[int] = sizes.argsort(kind="stable")[::-1].tolist()
        return order

    def _table(self, top: int | None, columns: int | None = None) -> tuple[list[str], list[list[str]]]:
        """Return titles and rows: the largest parts, the sum of the rest, and what they add up to.

        Args:
            top: How many parts.
            columns: How many units at most.
        """
        found = self.ledger
        order = self._largest()
        one, left = len(found.units) == 1, found.contribution[:, :columns]
        shown = order[: _LEDGER_TOP if top is None else top]
        shown = shown if one else sorted(shown)  # which parts are large differs from unit to unit
        titled = any(token is not None for token in self.tokens.values())
        titles = ["timestep", *["token"] * titled]
        titles += ["written", "kept", "left"] if one else [f"unit {unit}" for unit in found.units[:columns]]
        rows = []
        for row in shown:
            at = int(found.written_at[row])
            label = [str(at), *[printable(self.tokens.get(at) or "")] * titled]
            factors = [number(found.written[row, 0]), number(found.kept[row, 0])] if one else []
            rows.append([*label, *factors, *map(number, left[row].tolist())])
        empty = [""] * (titled + 2 * one)
        rest = order[len(shown) :]
        sums = [(f"{len(rest)} others", left[rest].sum(axis=0))] * bool(rest)
        sums += [(self._initial, found.initial[:columns]), ("sum", found.total[:columns])]
        sums += [(found.state, found.value[:columns])]
        return titles, rows + [[name, *empty, *map(number, values.tolist())] for name, values in sums]


_TEXTS = ("timestep", "token")
_UNITS_SHOWN = 6
"""Units of a table on a terminal."""


def _listed(values: Any) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _latex_text(text: str) -> str:
    r"""Return a text for LaTeX: what it takes for commands is escaped."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c) or (f"\\{c}" if c in "&%$#_{}" else c) for c in printable(text))
