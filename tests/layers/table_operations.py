"""Cases: nodes of ``keras.ops``."""

from __future__ import annotations

from typing import Any

from gateprobe.graph import Era, Namespace
from layers.case import Case, X

_X0, _X1 = X(0), X(1)


def _op(module: str, class_name: str, note: str = "", config: Any = (), *args: Any, **options: Any) -> Case:
    return Case(
        class_name,
        note,
        dict(config),
        options.pop("shapes", ((3, 4, 6),) * max(1, len({arg.number for arg in args if isinstance(arg, X)}))),
        args=args or (_X0,),
        eras=(Era.KERAS3,),
        namespace=Namespace.OPERATION,
        module=f"keras.src.ops.{module}",
        **options,
    )


_BINARY = [
    _op("numpy", name, "tensors", (), _X0, _X1)
    for name in (
        "Add Subtract Multiply Divide TrueDivide FloorDivide Mod Maximum Minimum Arctan2 Logaddexp Equal NotEqual "
        "Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr LogicalXor DivideNoNan"
    ).split()
] + [
    _op("numpy", "Add", "number", (), _X0, 0.1),
    _op("numpy", "Subtract", "number-first", (), 1, _X0),
    _op("numpy", "Multiply", "integers", (), _X0, 3, integers=9),
    _op("numpy", "Multiply", "integers-float", (), _X0, 0.1, integers=9),
    _op("numpy", "TrueDivide", "integers", (), _X0, 3, integers=9),
    _op("numpy", "FloorDivide", "integers", (), _X0, 2, integers=9),
    _op("numpy", "DivideNoNan", "zeros", (), _X0, _X1, whole=True),
    _op("numpy", "Power", "square", (), _X0, 2),
    _op("numpy", "Power", "base", (), 2.0, _X0),
    _op("numpy", "NotEqual", "tokens", (), _X0, 0, integers=3),
    _op("numpy", "Where", "", (), _X0, _X1, X(2), whole=True),
    _op("numpy", "Where", "number", (), _X0, _X0, -1e9, whole=True),
]

_UNARY = [
    _op("numpy", name, scale=0.5)
    for name in (
        "Absolute Negative Square Sign Floor Ceil Copy LogicalNot Isnan Isinf Isfinite Exp Expm1 Reciprocal Sin Cos "
        "Tan Arctan Sinh Cosh Tanh ZerosLike OnesLike"
    ).split()
] + [
    *(_op("numpy", name, whole=True) for name in ("Log1p", "Sqrt", "Arcsin", "Arccos", "Log", "Log2", "Log10")),
    _op("numpy", "Abs"),
    _op("math", "Rsqrt", whole=True),
    _op("core", "StopGradient"),
    _op("core", "ConvertToTensor"),
]

_ACTIVATIONS = [
    _op("nn", name, "", config, scale=2)
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
    _op("nn", "Gelu", "exact", {"approximate": False}),
    _op("nn", "Softmax", "", {"axis": -1}),
    _op("nn", "Softmax", "time", {"axis": 1}),
    _op("nn", "LogSoftmax", "", {"axis": -1}),
    _op("nn", "Normalize", "", {"axis": 1}),
]

_ALONG = [
    *(
        _op("numpy", name, "", {"axis": 1, "keepdims": True})
        for name in ("Mean", "Var", "Std", "Sum", "Prod", "Max", "Amax", "Min", "Amin", "Argmax", "Argmin")
    ),
    *(_op("numpy", name, "", {"axis": -1}, whole=True) for name in ("Any", "All")),
    _op("numpy", "Mean", "integers", {"axis": [1, -1]}, integers=9),
    _op("numpy", "Sum", "integers", {"axis": -1}, integers=9),
    _op("math", "Logsumexp", "", {"axis": -1}),
    _op("linalg", "Norm", "", {"axis": -1}),
    *(_op("numpy", name, "", {"axis": 1}) for name in ("Cumsum", "Cumprod", "Sort")),
    _op("numpy", "Clip", "", {"x_min": -1, "x_max": 0.5}),
]

_EVERY = slice(None)
_SHAPES = [
    _op("numpy", "GetItem", "last", (), _X0, (_EVERY, -1)),
    _op("numpy", "GetItem", "steps", (), _X0, (_EVERY, slice(0, 3), slice(None, None, 2))),
    _op("numpy", "GetItem", "new-axis", (), _X0, (Ellipsis, None)),
    _op("numpy", "Reshape", "", {"newshape": [-1, 24]}),
    _op("numpy", "Reshape", "rows", {"newshape": [-1, 6]}),
    _op("numpy", "Transpose", "", {"axes": [0, 2, 1]}),
    _op("numpy", "Swapaxes", "", {"axis1": 1, "axis2": -1}),
    _op("numpy", "Moveaxis", "", {"source": 1, "destination": 2}),
    _op("numpy", "ExpandDims", "", {"axis": 1}),
    _op("numpy", "ExpandDims", "last", {"axis": -1}),
    _op("numpy", "Squeeze", "", {"axis": -1}, shapes=((3, 4, 1),)),
    _op("numpy", "Squeeze", "all", {}, shapes=((3, 1, 4, 1),)),
    _op("numpy", "Flip", "", {"axis": 1}),
    _op("numpy", "Roll", "", {"shift": -2, "axis": 1}),
    _op("numpy", "Repeat", "", {"repeats": 2, "axis": 1}),
    _op("numpy", "Tile", "", {"repeats": [1, 2, 3]}),
    _op("numpy", "Pad", "", {"pad_width": [[0, 0], [1, 2], [0, 0]], "mode": "constant"}),
    _op("numpy", "Pad", "reflect", {"pad_width": [[0, 0], [1, 2], [0, 0]], "mode": "reflect"}),
    _op("numpy", "Concatenate", "", {"axis": 1}, [_X0, _X1], shapes=((3, 4, 6), (3, 2, 6))),
    _op("numpy", "Stack", "", {"axis": 1}, [_X0, _X1], shapes=((3, 4, 6), (3, 4, 6))),
    _op("numpy", "Split", "", {"indices_or_sections": 2, "axis": -1}),
    _op("numpy", "Split", "at", {"indices_or_sections": [1, 3], "axis": 1}),
    _op("core", "Unstack", "", {"axis": 1}),
    _op("numpy", "Take", "", {"axis": 1}, _X0, 2),
    _op("numpy", "Take", "several", {"axis": 1}, _X0, [0, -1, 1]),
    _op("core", "Cast", "", {"dtype": "float32"}, integers=9),
    _op("core", "Cast", "integer", {"dtype": "int32"}, scale=3),
    _op("core", "Cast", "bool", {"dtype": "bool"}, whole=True),
    _op("nn", "OneHot", "", {"num_classes": 5}, integers=7),
    _op("numpy", "Matmul", "", (), _X0, _X1, shapes=((3, 4, 6), (3, 6, 2))),
    _op("numpy", "Einsum", "", {"subscripts": "abc,abd->acd"}, _X0, _X1, shapes=((3, 4, 6), (3, 4, 2))),
]

OPERATIONS: tuple[Case, ...] = (*_BINARY, *_UNARY, *_ACTIVATIONS, *_ALONG, *_SHAPES)
