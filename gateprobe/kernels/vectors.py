"""A little language for machine code on vectors of float32 numbers, on top of LLVM's (needs the extra ``fast``).

Every operation rounds as NumPy's does; nothing is reordered. Offsets and counts are in numbers, not bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir

Value: TypeAlias = Any
"""A value of LLVM's: an integer, a pointer or a vector."""

INTEGER = ir.IntType(64)
POINTER = ir.FloatType().as_pointer()
BYTES = ir.IntType(8).as_pointer()

_ROUNDING = 1.5 * 2**23
"""Added to a small float32 number, it leaves the nearest integer in the lowest bits."""
_LN2_HIGH = 0.693145751953125
_EXPM1 = (0.4999999701976776, 0.1666654348373413, 0.04166720062494278, 0.008366525173187256, 0.0013882534112781286)
"""(expm1(r) - r) / r**2 for abs(r) <= ln(2) / 2, minimax: relative error of expm1 below 2**-26."""


class Vectors:
    """Writes code into one function.

    Args:
        builder: Positioned at the end of the function's entry.
        lanes: Numbers in a vector.
    """

    def __init__(self, builder: Any, lanes: int) -> None:
        self.builder = builder
        self.lanes = lanes
        self._type = ir.VectorType(ir.FloatType(), lanes)
        self._bits = ir.VectorType(ir.IntType(32), lanes)

    def count(self, number: int) -> Value:
        """Return a constant integer."""
        return ir.Constant(INTEGER, number)

    def product(self, *factors: Value) -> Value:
        """Multiply integers; plain ones too."""
        return self._folded(self.builder.mul, factors)

    def total(self, *terms: Value) -> Value:
        """Add integers; plain ones too."""
        return self._folded(self.builder.add, terms)

    def _folded(self, operation: Any, values: Sequence[Value]) -> Value:
        result, *more = (self.count(value) if isinstance(value, int) else value for value in values)
        for value in more:
            result = operation(result, value)
        return result

    def at(self, base: Value, offset: Value) -> Value:
        """Return the address of a number."""
        return self.builder.gep(base, [self.total(offset)])

    def given(self, value: Value) -> Value:
        """Return whether an address or a byte is not zero."""
        return self.builder.icmp_unsigned("!=", value, ir.Constant(value.type, None))

    def byte(self, base: Value, offset: Value) -> Value:
        """Read a byte."""
        return self.builder.load(self.at(base, offset))

    def copy(self, source: Value, target: Value, offset: Value) -> None:
        """Copy one number."""
        self.builder.store(self.builder.load(self.at(source, offset)), self.at(target, offset))

    def load(self, base: Value, offset: Value) -> Value:
        """Read a vector."""
        return self.builder.load(self.builder.bitcast(self.at(base, offset), self._type.as_pointer()), align=4)

    def store(self, value: Value, base: Value, offset: Value) -> None:
        """Write a vector."""
        self.builder.store(value, self.builder.bitcast(self.at(base, offset), self._type.as_pointer()), align=4)

    def spread(self, base: Value, offset: Value) -> Value:
        """Read one number into all lanes."""
        undefined = ir.Constant(self._type, ir.Undefined)
        zero = ir.Constant(ir.IntType(32), 0)
        one = self.builder.insert_element(undefined, self.builder.load(self.at(base, offset)), zero)
        return self.builder.shuffle_vector(one, undefined, ir.Constant(self._bits, [0] * self.lanes))

    def memory(self, vectors: int) -> Value:
        """Reserve room for some vectors on the stack; only in the function's entry."""
        return self.builder.bitcast(self.builder.alloca(ir.ArrayType(self._type, vectors)), POINTER)

    def constant(self, number: float) -> Value:
        """Return a number in all lanes, rounded to float32."""
        return ir.Constant(self._type, [float(np.float32(number))] * self.lanes)

    def _call(self, name: str, *arguments: Value) -> Value:
        module, full = self.builder.module, f"llvm.{name}.v{self.lanes}f32"
        function = module.globals.get(full)
        if function is None:
            function = ir.Function(module, ir.FunctionType(self._type, [self._type] * len(arguments)), full)
        return self.builder.call(function, arguments)

    def add(self, a: Value, b: Value) -> Value:
        """Return a + b."""
        return self.builder.fadd(a, b)

    def multiply(self, a: Value, b: Value) -> Value:
        """Return a * b."""
        return self.builder.fmul(a, b)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """Return a * b + c, rounded once."""
        return self._call("fma", a, b, c)

    def within(self, x: Value, low: float, high: float) -> Value:
        """Clip ``x``; NaN stays NaN."""
        lowest, highest = self.constant(low), self.constant(high)
        x = self.builder.select(self.builder.fcmp_ordered("<", x, lowest), lowest, x)
        return self.builder.select(self.builder.fcmp_ordered(">", x, highest), highest, x)

    def tanh(self, x: Value) -> Value:
        """Return the hyperbolic tangent, wrong by 3 units in the last place at most.

        It is e / (e + 2) with e = expm1(2 * abs(x)), and the sign of x.
        """
        y = self.within(self.multiply(self._call("fabs", x), self.constant(2)), 0, 18.2)  # tanh is 1 from 9.1 on
        shifted = self.fma(y, self.constant(math.log2(math.e)), self.constant(_ROUNDING))
        power = self.builder.fsub(shifted, self.constant(_ROUNDING))
        r = self.fma(power, self.constant(-_LN2_HIGH), y)
        r = self.fma(power, self.constant(_LN2_HIGH - math.log(2)), r)
        p = self.constant(_EXPM1[-1])
        for coefficient in _EXPM1[-2::-1]:
            p = self.fma(p, r, self.constant(coefficient))
        p = self.fma(p, self.multiply(r, r), r)
        scale = self._two_to(shifted)
        e = self.fma(p, scale, self.builder.fsub(scale, self.constant(1)))
        return self._call("copysign", self.builder.fdiv(e, self.add(e, self.constant(2))), x)

    def _two_to(self, shifted: Value) -> Value:
        """Return 2**n for the n in the lowest bits."""
        bits = self.builder.bitcast(shifted, self._bits)
        biased = self.builder.add(bits, ir.Constant(self._bits, [127] * self.lanes))
        return self.builder.bitcast(self.builder.shl(biased, ir.Constant(self._bits, [23] * self.lanes)), self._type)

    @contextmanager
    def loop(
        self, stop: Value, *, start: Value = 0, step: int = 1, carried: Sequence[Value] = ()
    ) -> Iterator[tuple[Value, list[Value], list[Value]]]:
        """Repeat the code written inside while a whole step fits before ``stop``.

        Args:
            stop: First integer that is too large.
            start: First integer.
            step: From one repetition to the next.
            carried: Values handed on from repetition to repetition.

        Yields:
            The integer, the carried values, and a list to put their successors into. After the loop they hold the
            first integer that was not used and the last values.
        """
        builder, before = self.builder, self.builder.block
        head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        integer, values, after = builder.phi(INTEGER), [builder.phi(value.type) for value in carried], list[Value]()
        for phi, value in zip((integer, *values), (self.total(start), *carried), strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<=", self.total(integer, step), self.total(stop)), body, done)
        builder.position_at_end(body)
        yield integer, values, after
        for phi, value in zip((integer, *values), (self.total(integer, step), *after), strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(done)
