"""Cases: nodes of ``keras.ops``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateprobe.graph import Era, Namespace
from layers.case import Case, X

_X0, _X1 = X(0), X(1)


def _numbers(value: Any) -> Iterator[int]:
    if isinstance(value, X):
        yield value.number
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _numbers(item)


def op(module: str, class_name: str, note: str = "", config: Any = (), *args: Any, **options: Any) -> Case:
    return Case(
        class_name,
        note,
        dict(config),
        options.pop("shapes", ((3, 4, 6),) * max(1, len(set(_numbers(args))))),
        args=args or (_X0,),
        eras=(Era.KERAS3,),
        namespace=Namespace.OPERATION,
        module=f"keras.src.ops.{module}",
        **options,
    )


_BINARY = [
    op("numpy", name, "tensors", (), _X0, _X1)
    for name in (
        "Add Subtract Multiply Divide TrueDivide FloorDivide Mod Maximum Minimum Arctan2 Logaddexp Equal NotEqual "
        "Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr LogicalXor DivideNoNan"
    ).split()
] + [
    op("numpy", "Add", "number", (), _X0, 0.1),
    op("numpy", "Subtract", "number-first", (), 1, _X0),
    op("numpy", "Multiply", "integers", (), _X0, 3, integers=9),
    op("numpy", "Multiply", "integers-float", (), _X0, 0.1, integers=9),
    op("numpy", "TrueDivide", "integers", (), _X0, 3, integers=9),
    op("numpy", "FloorDivide", "integers", (), _X0, 2, integers=9),
    op("numpy", "DivideNoNan", "zeros", (), _X0, _X1, whole=True),
    op("numpy", "Power", "square", (), _X0, 2),
    op("numpy", "Power", "base", (), 2.0, _X0),
    op("numpy", "NotEqual", "tokens", (), _X0, 0, integers=3),
    op("numpy", "Where", "", (), _X0, _X1, X(2), whole=True),
    op("numpy", "Where", "number", (), _X0, _X0, -1e9, whole=True),
]

_UNARY = [
    op("numpy", name, scale=0.5)
    for name in (
        "Absolute Negative Square Sign Floor Ceil Copy LogicalNot Isnan Isinf Isfinite Exp Expm1 Reciprocal Sin Cos "
        "Tan Arctan Sinh Cosh Tanh ZerosLike OnesLike"
    ).split()
] + [
    *(op("numpy", name, whole=True) for name in ("Log1p", "Sqrt", "Arcsin", "Arccos", "Log", "Log2", "Log10")),
    op("numpy", "Abs"),
    op("math", "Rsqrt", whole=True),
    op("core", "StopGradient"),
    op("core", "ConvertToTensor"),
]

_ACTIVATIONS = [
    op("nn", name, "", config, scale=2)
    for name, config in (
        *(
            (name, {})
            for name in (
                "Relu Relu6 Sigmoid SparseSigmoid Softplus Softsign SparsePlus Silu LogSigmoid HardSigmoid HardSilu "
                "Selu TanhShrink HardTanh"
            ).split()
        ),
        ("SoftShrink", {"threshold": 0.3}),
        ("HardShrink", {"threshold": 0.3}),
        ("LeakyRelu", {"negative_slope": 0.3}),
        ("Elu", {"alpha": 0.3}),
        ("Celu", {"alpha": 0.3}),
        ("Gelu", {"approximate": True}),
    )
] + [
    op("nn", "Gelu", "exact", {"approximate": False}),
    op("nn", "Softmax", "", {"axis": -1}),
    op("nn", "Softmax", "time", {"axis": 1}),
    op("nn", "LogSoftmax", "", {"axis": -1}),
    op("nn", "Normalize", "", {"axis": 1}),
]

_ALONG = [
    *(
        op("numpy", name, "", {"axis": 1, "keepdims": True})
        for name in ("Mean", "Var", "Std", "Sum", "Prod", "Max", "Amax", "Min", "Amin", "Argmax", "Argmin")
    ),
    *(op("numpy", name, "", {"axis": -1}, whole=True) for name in ("Any", "All")),
    op("numpy", "Mean", "integers", {"axis": [1, -1]}, integers=9),
    op("numpy", "Sum", "integers", {"axis": -1}, integers=9),
    op("math", "Logsumexp", "", {"axis": -1}),
    op("linalg", "Norm", "", {"axis": -1}),
    *(op("numpy", name, "", {"axis": 1}) for name in ("Cumsum", "Cumprod", "Sort")),
    op("numpy", "Clip", "", {"x_min": -1, "x_max": 0.5}),
]

_EVERY = slice(None)
_SHAPES = [
    op("numpy", "GetItem", "last", (), _X0, (_EVERY, -1)),
    op("numpy", "GetItem", "steps", (), _X0, (_EVERY, slice(0, 3), slice(None, None, 2))),
    op("numpy", "GetItem", "new-axis", (), _X0, (Ellipsis, None)),
    op("numpy", "Reshape", "", {"newshape": [-1, 24]}),
    op("numpy", "Reshape", "rows", {"newshape": [-1, 6]}),
    op("numpy", "Transpose", "", {"axes": [0, 2, 1]}),
    op("numpy", "Swapaxes", "", {"axis1": 1, "axis2": -1}),
    op("numpy", "Moveaxis", "", {"source": 1, "destination": 2}),
    op("numpy", "ExpandDims", "", {"axis": 1}),
    op("numpy", "ExpandDims", "last", {"axis": -1}),
    op("numpy", "Squeeze", "", {"axis": -1}, shapes=((3, 4, 1),)),
    op("numpy", "Squeeze", "all", {}, shapes=((3, 1, 4, 1),)),
    op("numpy", "Flip", "", {"axis": 1}),
    op("numpy", "Roll", "", {"shift": -2, "axis": 1}),
    op("numpy", "Repeat", "", {"repeats": 2, "axis": 1}),
    op("numpy", "Tile", "", {"repeats": [1, 2, 3]}),
    op("numpy", "Pad", "", {"pad_width": [[0, 0], [1, 2], [0, 0]], "mode": "constant"}),
    op("numpy", "Pad", "reflect", {"pad_width": [[0, 0], [1, 2], [0, 0]], "mode": "reflect"}),
    op("numpy", "Concatenate", "", {"axis": 1}, [_X0, _X1], shapes=((3, 4, 6), (3, 2, 6))),
    op("numpy", "Stack", "", {"axis": 1}, [_X0, _X1], shapes=((3, 4, 6), (3, 4, 6))),
    op("numpy", "Split", "", {"indices_or_sections": 2, "axis": -1}),
    op("numpy", "Split", "at", {"indices_or_sections": [1, 3], "axis": 1}),
    op("core", "Unstack", "", {"axis": 1}),
    op("numpy", "Take", "", {"axis": 1}, _X0, 2),
    op("numpy", "Take", "several", {"axis": 1}, _X0, [0, -1, 1]),
    op("core", "Cast", "", {"dtype": "float32"}, integers=9),
    op("core", "Cast", "integer", {"dtype": "int32"}, scale=3),
    op("core", "Cast", "bool", {"dtype": "bool"}, whole=True),
    op("nn", "OneHot", "", {"num_classes": 5}, integers=7),
    op("numpy", "Matmul", "", (), _X0, _X1, shapes=((3, 4, 6), (3, 6, 2))),
    op("numpy", "Einsum", "", {"subscripts": "abc,abd->acd"}, _X0, _X1, shapes=((3, 4, 6), (3, 4, 2))),
]

OPERATIONS: tuple[Case, ...] = (*_BINARY, *_UNARY, *_ACTIVATIONS, *_ALONG, *_SHAPES)
