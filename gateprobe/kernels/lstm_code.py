"""Machine code for a whole sequence of an LSTM, made for this processor when it is first needed.

Four gates times one vector of units make a panel. For a few samples at a time the sums of a panel stay in registers
through both products; then the gates are activated, the states follow, and everything is written once, to its place
in the trace. Needs the extra ``fast``.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from llvmlite import binding, ir

from gateprobe.kernels.vectors import BYTES, INTEGER, POINTER, Value, Vectors

GATES = 4
SIGNALS = 6


class Arguments(NamedTuple):
    """What the compiled function takes; offsets and steps are in numbers. Gates stand in the order i, f, o, c."""

    x: Value
    """Address of the inputs, float32 like everything but the mask."""
    start: Value
    """Of what the sums start from: the bias, ``(panels, 4, lanes)``, or that for each timestep and sample."""
    panels: Value
    """Of ``(panels, features + units, 4, lanes)``; consecutive ones may overlap in their units."""
    signals: Value
    """Of ``(timesteps, 6, samples, units)``; will hold the gates, the cell state and the hidden state."""
    pre: Value
    """Of ``(timesteps, 4, samples, units)``; will hold the gates before their activation. May be null."""
    cell_state: Value
    """Of that before the first timestep, ``(samples, units)``."""
    hidden_state: Value
    """Likewise."""
    mask: Value
    """Of ``(timesteps, samples)`` bytes; where it is 0 the states are held. May be null."""
    timesteps: Value
    samples: Value
    features: Value
    units: Value
    x_timestep: Value
    """Step in ``x`` from one timestep to the next."""
    x_sample: Value
    """From one sample to the next."""
    start_row: Value
    """Step in ``start`` from one sample to the next; 0 for a bias."""
    panel_count: Value
    panel_size: Value
    """Step in ``panels`` from one panel to the next."""


_INTEGERS = Arguments._fields[Arguments._fields.index("timesteps") :]


def _kind(name: str, address: Any, integer: Any, mask: Any) -> Any:
    return mask if name == "mask" else integer if name in _INTEGERS else address


@cache
def host() -> tuple[int, int] | None:
    """Return the numbers in a vector and the samples to take at a time, or ``None`` for a processor not tried."""
    features = binding.get_host_cpu_features()
    if platform.machine() not in ("x86_64", "AMD64") or not features.get("fma"):
        return None
    return (16, 4) if features.get("avx512f") and features.get("avx512vl") else (8, 2)


@cache
def compile_lstm(lanes: int, samples: int, slope: float | None) -> Callable[..., None]:
    """Compile the LSTM.

    Args:
        lanes: Numbers in a vector; at most as many as there are units.
        samples: How many to take at a time.
        slope: Of the gates' hard sigmoid; ``None`` for a sigmoid, whose weights then come halved.

    Returns:
        A function of `Arguments`.
    """
    module = ir.Module()
    module.triple = binding.get_process_triple()
    types = [_kind(name, POINTER, INTEGER, BYTES) for name in Arguments._fields]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), "lstm")
    vectors = Vectors(ir.IRBuilder(function.append_basic_block("entry")), lanes)
    _Code(vectors, Arguments(*function.args), samples, slope).write()
    engine = _engine(str(module))
    signature = [_kind(name, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p) for name in Arguments._fields]
    compiled = ctypes.CFUNCTYPE(None, *signature)(engine.get_function_address("lstm"))

    def call(*arguments: int | None, engine: Any = engine) -> None:  # the engine must live as long as its code
        compiled(*arguments)

    return call


def _engine(text: str) -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = f"{binding.get_host_cpu_features().flatten()},-prefer-256-bit"
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=3)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(text), machine)
    engine.finalize_object()
    return engine


class _Timestep(NamedTuple):
    """Addresses of what one timestep reads and writes."""

    x: Value
    start: Value
    gates: Value
    pre: Value
    cell_state: Value
    hidden_state: Value
    new_cell_state: Value
    new_hidden_state: Value


class _Code:
    """Writes the function."""

    def __init__(self, vectors: Vectors, arguments: Arguments, samples: int, slope: float | None) -> None:
        self._v, self._a = vectors, arguments
        self._together, self._slope = samples, slope
        self._sums = vectors.memory(GATES * samples)
        self._block = vectors.product(arguments.samples, arguments.units)

    def write(self) -> None:
        """Write all timesteps."""
        v, a = self._v, self._a
        with v.loop(a.timesteps) as (t, _, _):
            step = self._timestep(t)
            with v.loop(a.panel_count) as (panel, _, _):
                done: Value = 0
                for together in (self._together, 1):
                    with v.loop(a.samples, start=done, step=together) as (sample, _, _):
                        self._multiply(step, panel, sample, together)
                        with v.loop(v.count(together)) as (row, _, _):
                            self._finish(step, panel, v.total(sample, row), v.product(row, GATES * v.lanes))
                    done = sample
            with v.builder.if_then(v.given(a.mask)):
                self._hold(t, step)
        v.builder.ret_void()

    def _timestep(self, t: Value) -> _Timestep:
        v, a, block = self._v, self._a, self._block
        gates = v.at(a.signals, v.product(t, SIGNALS, block))
        new = v.at(gates, v.product(GATES, block))
        old = v.at(new, v.product(-SIGNALS, block))
        first = v.builder.icmp_signed("==", t, v.count(0))
        return _Timestep(
            x=v.at(a.x, v.product(t, a.x_timestep)),
            start=v.at(a.start, v.product(t, a.samples, a.start_row)),
            gates=gates,
            pre=v.at(a.pre, v.product(t, GATES, block)),
            cell_state=v.builder.select(first, a.cell_state, old),
            hidden_state=v.builder.select(first, a.hidden_state, v.at(old, block)),
            new_cell_state=new,
            new_hidden_state=v.at(new, block),
        )

    def _multiply(self, step: _Timestep, panel: Value, sample: Value, together: int) -> None:
        """Sum up the gates of one panel for some samples, in registers."""
        v, a = self._v, self._a
        rows = [v.total(sample, row) for row in range(together)]
        columns = [v.product(gate, v.lanes) for gate in range(GATES)]
        start = v.product(panel, GATES * v.lanes)
        starts = [v.at(step.start, v.total(v.product(row, a.start_row), start)) for row in rows]
        sums = [v.load(address, column) for address in starts for column in columns]
        weights = v.at(a.panels, v.product(panel, a.panel_size))
        x = [v.at(step.x, v.product(row, a.x_sample)) for row in rows]
        sums = self._accumulate(sums, x, weights, a.features)
        hidden = [v.at(step.hidden_state, v.product(row, a.units)) for row in rows]
        sums = self._accumulate(sums, hidden, v.at(weights, v.product(a.features, GATES * v.lanes)), a.units)
        for number, value in enumerate(sums):
            v.store(value, self._sums, v.count(number * v.lanes))

    def _accumulate(self, sums: list[Value], rows: list[Value], weights: Value, length: Value) -> list[Value]:
        v = self._v
        with v.loop(length, carried=sums) as (k, now, after):
            at = v.product(k, GATES * v.lanes)
            columns = [v.load(weights, v.total(at, gate * v.lanes)) for gate in range(GATES)]
            for number, row in enumerate(rows):
                factor = v.spread(row, k)
                own = now[GATES * number : GATES * (number + 1)]
                after += [v.fma(factor, column, value) for column, value in zip(columns, own, strict=True)]
        return now

    def _finish(self, step: _Timestep, panel: Value, sample: Value, sums: Value) -> None:
        """Activate the gates of one sample's vector of units and update its states."""
        v, a = self._v, self._a
        begin, last = v.product(panel, v.lanes), v.total(a.units, -v.lanes)  # the last panel ends with the last unit
        unit = v.builder.select(v.builder.icmp_signed("<", begin, last), begin, last)
        here = v.total(v.product(sample, a.units), unit)
        z = [v.load(self._sums, v.total(sums, gate * v.lanes)) for gate in range(GATES)]
        with v.builder.if_then(v.given(a.pre)):
            for gate, value in enumerate(z):
                whole = value if gate == 3 or self._slope is not None else v.add(value, value)
                v.store(whole, step.pre, v.total(here, v.product(gate, self._block)))
        i, f, o, candidate = (*(self._gate(value) for value in z[:3]), v.tanh(z[3]))
        for gate, value in enumerate((i, f, o, candidate)):
            v.store(value, step.gates, v.total(here, v.product(gate, self._block)))
        kept = v.multiply(f, v.load(step.cell_state, here))
        cell_state = v.add(kept, v.multiply(i, candidate))
        v.store(cell_state, step.new_cell_state, here)
        v.store(v.multiply(v.tanh(cell_state), o), step.new_hidden_state, here)

    def _gate(self, z: Value) -> Value:
        v, half = self._v, self._v.constant(0.5)
        if self._slope is None:
            return v.add(v.multiply(v.tanh(z), half), half)
        return v.within(v.add(v.multiply(z, v.constant(self._slope)), half), 0, 1)

    def _hold(self, t: Value, step: _Timestep) -> None:
        """Put the old states back where the mask is 0."""
        v, a = self._v, self._a
        with v.loop(a.samples) as (sample, _, _):
            seen = v.byte(a.mask, v.total(v.product(t, a.samples), sample))
            with v.builder.if_then(v.builder.not_(v.given(seen))), v.loop(a.units) as (unit, _, _):
                here = v.total(v.product(sample, a.units), unit)
                v.copy(step.cell_state, step.new_cell_state, here)
                v.copy(step.hidden_state, step.new_hidden_state, here)
