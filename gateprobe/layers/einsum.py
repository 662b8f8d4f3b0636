"""Dense layers over any axes, described by an einsum equation.

Formulas: ``keras/src/layers/core/einsum_dense.py`` 3.15.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from gateprobe.activations import Activation
from gateprobe.errors import InputError
from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.base import Layer, Precision
from gateprobe.layers.binding.registry import Binding, Slot, replays
from gateprobe.layers.binding.settings import Settings, Unsupported
from gateprobe.layers.core import biased, refuse_stray_bias
from gateprobe.layers.unary import Unary
from gateprobe.limits import room


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation such as ``...x,xy->...y``, split up."""

    text: str
    inputs: str
    kernel: str
    output: str
    left: bool
    """Whether axes are elided on the left."""
    right: bool
    """Whether axes are elided on the right."""

    def bias_letters(self, bias_axes: str) -> str:
        """Return the output's letters from the first one that has a bias."""
        return self.output[min(self.output.index(letter) for letter in bias_axes) :]


_FORMS = re.compile(
    r"(?P<left>\.\.\.)?(?P<inputs>[a-zA-Z]+)(?P<right>\.\.\.)?,(?P<kernel>[a-zA-Z]+)"
    r"->(?P<left2>\.\.\.)?(?P<output>[a-zA-Z]+)(?P<right2>\.\.\.)?"
)


def _equation(settings: Settings) -> Equation:
    text = settings.raw("equation")
    match = _FORMS.fullmatch(text) if isinstance(text, str) else None
    if match is None or match["left"] != match["left2"] or match["right"] != match["right2"]:
        raise Unsupported(f"config.equation: {text!r:.60} is not understood")
    inputs, kernel, output = match["inputs"], match["kernel"], match["output"]
    unique = all(len(set(letters)) == len(letters) for letters in (inputs, kernel, output))
    both_elided = match["left"] is not None and match["right"] is not None
    if not unique or both_elided or set(output) - set(inputs + kernel) or set(kernel) - set(inputs + output):
        raise Unsupported(f"config.equation: {text!r:.60} is not understood")
    return Equation(text, inputs, kernel, output, match["left"] is not None, match["right"] is not None)


def _bias_axes(settings: Settings, equation: Equation) -> str:
    axes = settings.raw("bias_axes")
    if axes is None:
        return ""
    if not isinstance(axes, str) or not axes or set(axes) - set(equation.output):
        raise Unsupported(f"config.bias_axes: {axes!r:.60} is not part of the output {equation.output}")
    return axes


def _sizes(settings: Settings, equation: Equation) -> dict[str, int]:
    """Return the sizes that the configuration gives to letters of the output, which the kernel must have too."""
    given = settings.raw("output_shape")
    shape = list(given) if isinstance(given, (list, tuple)) else [given]
    if any(size is not None and (type(size) is not int or size < 1) for size in shape):
        raise Unsupported(f"config.output_shape: expected sizes, got {given!r:.60}")
    if equation.right:
        return {}
    named = zip(reversed(equation.output), reversed(shape), strict=False)
    return {letter: size for letter, size in named if size is not None}


def _slots(record: LayerRecord, settings: Settings) -> tuple[Slot, ...]:
    equation = _equation(settings)
    sizes = _sizes(settings, equation)
    kernel = Slot("kernel", tuple(sizes.get(letter) for letter in equation.kernel))
    axes = _bias_axes(settings, equation)
    if not axes:
        return (kernel,)
    return (kernel, Slot("bias", None if equation.right else (None,) * len(equation.bias_letters(axes))))


@replays("EinsumDense", slots=_slots)
def _bind(binding: Binding) -> Layer:
    settings, weights = binding.settings, binding.weights
    equation = _equation(settings)
    axes = _bias_axes(settings, equation)
    bias, kernel = weights.get("bias"), weights["kernel"]
    if bias is not None:
        _check_bias(equation, axes, kernel, bias)
    activation, astray = settings.activation("activation"), binding.semantics.bias_goes_astray
    function = EinsumFunction(equation, kernel, bias, activation, binding.precision, astray)
    settings.ignore("output_shape")
    settings.finish()
    return Unary(function, binding.precision, keeps_mask=False)


def _check_bias(equation: Equation, axes: str, kernel: Array, bias: Array) -> None:
    """Check that the bias has the kernel's sizes along its axes and is one along others."""
    sizes = dict(zip(equation.kernel, kernel.shape, strict=True))
    letters = equation.bias_letters(axes)
    fits = all(
        size == (sizes.get(letter, size) if letter in axes else 1)
        for letter, size in zip(letters, bias.shape, strict=False)
    )
    if not fits or set(bias.shape[len(letters) :]) - {1}:
        raise Unsupported(f"bias: its shape {bias.shape} does not fit the kernel's {kernel.shape} in {equation.text}")


@dataclass(frozen=True, slots=True, eq=False)
class EinsumFunction:
    """``activation(einsum(equation, x, kernel) + bias)``."""

    equation: Equation
    kernel: Array
    bias: Array | None
    activation: Activation
    precision: Precision
    bias_goes_astray: bool

    def __call__(self, x: Array) -> Array:
        """Compute it for any input whose axes fit the equation."""
        self._check(x)
        product = self._product(x)
        if self.bias is not None and np.broadcast_shapes(product.shape, self.bias.shape) != product.shape:
            raise InputError(f"the bias of shape {self.bias.shape} does not fit an output of shape {product.shape}")
        if self.bias is not None and self.bias_goes_astray:
            refuse_stray_bias(product.shape, self.bias.shape)
        return biased(product, self.bias, self.activation, self.precision)

    def _product(self, x: Array) -> Array:
        """Multiply sample by sample: a product of all of them would round by how many they are."""
        if not (self.equation.left or self.equation.inputs[0] == self.equation.output[0]):
            return np.ascontiguousarray(room.einsum(self.equation.text, x, self.kernel))
        room.contracting(self.equation.text, x, self.kernel)
        return room.concatenate([room.einsum(self.equation.text, x[n : n + 1], self.kernel) for n in range(len(x))], 0)

    def _check(self, x: Array) -> None:
        """Check sizes, because einsum would stretch an axis of size one."""
        letters = self.equation.inputs
        elided = x.ndim - len(letters)
        if elided < 0 or (elided and not (self.equation.left or self.equation.right)):
            raise InputError(f"an input of shape {x.shape} does not fit the equation {self.equation.text}")
        own = dict(zip(letters, x.shape[elided if self.equation.left else 0 :], strict=False))
        sizes = dict(zip(self.equation.kernel, self.kernel.shape, strict=True))
        if any(sizes.get(letter, size) != size for letter, size in own.items()):
            raise InputError(f"an input of shape {x.shape} does not fit a kernel of shape {self.kernel.shape}")
