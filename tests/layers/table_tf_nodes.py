"""Cases: operations of TensorFlow saved as ``TensorFlowOpLayer``, and the functions that came with them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gateprobe.graph import Era
from layers.case import Case, X
from layers.table_operations import op
from layers.table_tf import tf

FILE = "conformance_tensorflow.npz"
_X0, _X1 = X(0), X(1)
_DRAW = np.random.default_rng(23)


def _constant(*shape: int) -> Any:
    return _DRAW.standard_normal(shape).astype(np.float32).tolist()


def _attribute(value: Any) -> Mapping[str, Any]:
    """Write an attribute as ``google.protobuf.json_format.MessageToDict`` does."""
    if isinstance(value, bool):
        return {"b": value}
    if isinstance(value, int):
        return {"i": str(value)}
    if isinstance(value, float):
        return {"f": value}
    if isinstance(value, list):
        return {"list": {"i": [str(item) for item in value]} if value else {}}
    return {"type": value} if value.startswith("DT_") else {"s": base64.b64encode(value.encode()).decode()}


def _raw(
    op: str, note: str = "", *, tensors: int = 1, constants: Mapping[int, Any] | None = None, types: str = "T",
    shapes: Any = None, integers: int = 0, whole: bool = False, scale: float = 1.0, **attributes: Any,
) -> Case:  # fmt: skip
    kind = "DT_INT32" if integers else "DT_FLOAT"
    named = {**dict.fromkeys(types.split(), kind), **attributes}
    node = {
        "name": op,
        "op": op,
        "input": [f"input_{n}" for n in range(tensors + len(constants or {}))],
        "attr": {key: _attribute(value) for key, value in named.items()},
    }
    return Case(
        "TensorFlowOpLayer",
        f"{op}-{note}" if note else op,
        {"name": op, "node_def": node, "constants": {str(n): value for n, value in (constants or {}).items()}},
        shapes or ((3, 4, 6),) * tensors,
        args=([X(n) for n in range(tensors)],) if tensors > 1 else (_X0,),
        eras=(Era.KERAS2,),
        integers=integers,
        whole=whole,
        scale=scale,
        file=FILE,
    )


_ROW = [1.0, -2.0, 0.5, 3.0, 0.0, 1.5]
_INT = "DT_INT32"
_WIDE = {"data_format": "NHWC"}

_BINARY = [
    *(
        _raw(op, tensors=2)
        for op in (
            "Add AddV2 Sub Mul RealDiv DivNoNan MulNoNan FloorDiv FloorMod Maximum Minimum SquaredDifference Xdivy "
            "Greater GreaterEqual Less LessEqual Atan2"
        ).split()
    ),
    _raw("Xlogy", constants={1: 2.5}),
    _raw("Xlog1py", constants={1: 2.5}),
    _raw("Pow", constants={1: 2.0}),
    *(_raw(op, "number", constants={1: 0.7}) for op in ("AddV2", "Mul", "Maximum")),
    *(_raw(op, "first", constants={0: 1.0}) for op in ("Sub", "RealDiv")),
    _raw("Mul", "row", constants={1: _ROW}),
    *(_raw(op, tensors=2, whole=True, incompatible_shape_error=True) for op in ("Equal", "NotEqual")),
    _raw("NotEqual", "tokens", constants={1: 0}, integers=3, incompatible_shape_error=True),
    *(_raw(op, constants={1: 3}, integers=9)
      for op in "Mod TruncateMod TruncateDiv BitwiseAnd BitwiseOr BitwiseXor LeftShift RightShift".split()),
    _raw("FloorDiv", "integers", constants={1: 2}, integers=9),
    _raw("AddN", tensors=2, N=2),
    _raw("BiasAdd", constants={1: _ROW}, **_WIDE),
    _raw("ClipByValue", constants={1: -0.5, 2: 0.7}),
]  # fmt: skip

_UNARY = [
    *(
        _raw(op)
        for op in (
            "Sin Cos Tan Atan Sinh Cosh Tanh Asinh Floor Ceil Rint Round IsNan IsInf IsFinite Erf Erfc Neg Abs Square "
            "Sign Sigmoid Softplus Relu Relu6 Elu Selu Softsign Exp Expm1 Identity StopGradient PreventGradient "
            "ZerosLike OnesLike Softmax LogSoftmax"
        ).split()
    ),
    *(_raw(op, whole=True) for op in "Sqrt Rsqrt Reciprocal Inv Log Log1p Acosh".split()),
    *(_raw(op, scale=0.1) for op in "Asin Acos Atanh Erfinv".split()),
    _raw("LeakyRelu", alpha=0.3),
    _raw("Invert", integers=9),
    _raw("Cast", types="SrcT", DstT="DT_FLOAT", Truncate=False, integers=9),
    _raw("Cast", "down", types="SrcT", DstT=_INT, Truncate=False, scale=4),
    _raw("OneHot", types="TI", T="DT_FLOAT", constants={1: 5, 2: 1.0, 3: 0.0}, axis=-1, integers=7),
    _raw("OneHot", "values", types="TI", T="DT_FLOAT", constants={1: 5, 2: 2.0, 3: -1.0}, axis=1, integers=7),
]

_ALONG = [
    *(
        _raw(op, constants={1: [1]}, Tidx=_INT, keep_dims=True)
        for op in "Mean Sum Prod Max Min EuclideanNorm".split()
    ),
    *(_raw(op, "out", constants={1: -1}, Tidx=_INT, keep_dims=False) for op in ("Mean", "Max")),
    *(_raw(op, constants={1: 1}, Tidx=_INT, output_type="DT_INT64") for op in ("ArgMax", "ArgMin")),
    *(_raw(op, constants={1: 1}, Tidx=_INT, exclusive=True, reverse=True) for op in ("Cumsum", "Cumprod")),
    _raw("TopKV2", constants={1: 2}, sorted=True),
    _raw("Einsum", tensors=2, N=2, equation="bij,bkj->bik"),
    _raw("MatMul", constants={1: _constant(6, 2)}, shapes=((3, 6),), transpose_a=False, transpose_b=False),
    _raw("MatMul", "turned", constants={1: _constant(2, 6)}, shapes=((3, 6),), transpose_a=False, transpose_b=True),
    *(_raw(op, tensors=2, shapes=((3, 4, 6), (3, 2, 6)), adj_x=False, adj_y=True)
      for op in ("BatchMatMul", "BatchMatMulV2")),
    _raw("MatrixBandPart", constants={1: 1, 2: -1}, Tindex="DT_INT32"),
]  # fmt: skip

_SHAPES = [
    _raw("ConcatV2", tensors=2, constants={2: 1}, N=2, Tidx=_INT, shapes=((3, 4, 6), (3, 2, 6))),
    _raw("Pack", tensors=2, N=2, axis=1),
    _raw("Unpack", axis=1, num=4),
    _raw("Split", constants={0: 2}, num_split=2),
    _raw("SplitV", constants={1: [1, 3], 2: 1}, num_split=2, Tlen=_INT),
    _raw("Slice", constants={1: [0, 1, 2], 2: [-1, 2, 3]}, Index=_INT),
    *(
        _raw("StridedSlice", note, constants={1: begin, 2: end, 3: strides}, Index=_INT,
             **dict(zip(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), masks,
                        strict=True)))
        for note, begin, end, strides, masks in (
            ("last", [0, -1], [0, 0], [1, 1], (1, 1, 0, 0, 2)),
            ("steps", [0, 0, 0], [0, 3, 0], [1, 1, 2], (5, 5, 0, 0, 0)),
            ("turned", [0, -1], [0, 0], [1, -1], (1, 3, 0, 0, 0)),
            ("new-axis", [0, 0], [0, 0], [1, 1], (0, 0, 1, 2, 0)),
            ("inside", [0, 1], [0, -1], [1, 1], (1, 1, 0, 0, 0)),
        )
    ),
    _raw("ExpandDims", constants={1: -1}, Tdim=_INT),
    _raw("Squeeze", shapes=((3, 4, 1),), squeeze_dims=[-1]),
    _raw("Squeeze", "all", shapes=((3, 4, 1),), squeeze_dims=[]),
    _raw("Reshape", constants={1: [-1, 24]}, Tshape=_INT),
    _raw("Transpose", constants={1: [0, 2, 1]}, Tperm=_INT),
    _raw("Tile", constants={1: [1, 2, 1]}, Tmultiples=_INT),
    _raw("ReverseV2", constants={1: [1]}, Tidx=_INT),
    _raw("Roll", constants={1: [1, -2], 2: [1, 2]}, Tshift=_INT, Taxis=_INT),
    _raw("Pad", constants={1: [[0, 0], [1, 2], [0, 0]]}, Tpaddings=_INT),
    _raw("PadV2", constants={1: [[0, 0], [1, 2], [0, 0]], 2: 0.5}, Tpaddings=_INT),
    _raw("MirrorPad", constants={1: [[0, 0], [1, 2], [0, 0]]}, Tpaddings=_INT, mode="SYMMETRIC"),
    _raw("GatherV2", types="Tparams", constants={1: [2, 0], 2: 1}, Tindices=_INT, Taxis=_INT, batch_dims=0),
    _raw("GatherV2", "table", types="Tindices", Tparams="DT_FLOAT", Taxis=_INT, constants={0: _constant(5, 2), 2: 0},
         batch_dims=0, integers=5),
]  # fmt: skip

_WINDOWS = [
    _raw("Conv2D", constants={1: _constant(2, 3, 6, 2)}, shapes=((3, 4, 5, 6),), strides=[1, 2, 1, 1], padding="SAME",
         dilations=[1, 1, 1, 1], explicit_paddings=[], use_cudnn_on_gpu=True, **_WIDE),
    _raw("Conv3D", constants={1: _constant(1, 2, 2, 2, 3)}, shapes=((3, 2, 4, 3, 2),), strides=[1] * 5,
         padding="VALID", dilations=[1] * 5, data_format="NDHWC"),
    _raw("DepthwiseConv2dNative", constants={1: _constant(2, 2, 6, 2)}, shapes=((3, 4, 5, 6),), strides=[1] * 4,
         padding="SAME", dilations=[1] * 4, explicit_paddings=[], **_WIDE),
    *(_raw(op, shapes=((3, 4, 5, 6),), ksize=[1, 2, 2, 1], strides=[1, 2, 1, 1], padding="SAME", **_WIDE)
      for op in ("AvgPool", "MaxPool")),
    *(_raw(op, shapes=((3, 4, 5, 2),), constants={1: [7, 3]}, align_corners=False, half_pixel_centers=True)
      for op in ("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic")),
]  # fmt: skip

_FILTER = {"filters": _constant(2, 6, 3), "padding": "SAME"}
_PICTURE = ((3, 4, 5, 6),)

_FUNCTIONS = [
    tf("nn.conv1d", "", _X0, options={**_FILTER, "stride": 1}),
    tf("nn.conv1d", "strides", _X0, options={**_FILTER, "stride": 2, "padding": "VALID"}),
    tf("nn.conv1d", "dilated", _X0, options={**_FILTER, "stride": 1, "dilations": 2}),
    tf("nn.conv2d", "", _X0, options={"filters": _constant(2, 3, 6, 2), "strides": [1, 2], "padding": "SAME"},
       shapes=_PICTURE),
    tf("nn.conv3d", "", _X0, options={"filters": _constant(1, 2, 2, 2, 3), "strides": [1] * 5, "padding": "SAME"},
       shapes=((3, 2, 4, 3, 2),)),
    tf("nn.convolution", "", _X0, options={**_FILTER, "strides": 1}),
    tf("nn.depthwise_conv2d", "", _X0,
       options={"filter": _constant(2, 2, 6, 2), "strides": [1] * 4, "padding": "VALID"}, shapes=_PICTURE),
    *(
        tf(f"nn.{kind}_pool{suffix}", "", _X0, options={"ksize": 2, "strides": strides, "padding": "SAME"},
           shapes=shapes)
        for kind in ("avg", "max")
        for suffix, strides, shapes in (("", 2, _PICTURE), ("1d", 2, ((3, 4, 6),)), ("2d", [1, 2], _PICTURE),
                                        ("3d", 1, ((3, 2, 4, 3, 2),)))
    ),
    *(tf("image.resize", method, _X0, options={"size": [6, 3], "method": method}, shapes=((3, 4, 5, 2),))
      for method in ("bilinear", "nearest", "bicubic")),
    *(tf(f"math.{name}", "", _X0)
      for name in "tan atan sinh cosh is_inf erfc real bessel_i0".split()),
    *(tf(f"math.{name}", "", _X0, scale=0.1) for name in "asin acos atanh erfinv".split()),
    tf("math.acosh", "", _X0, whole=True),
    *(tf(f"math.{name}", "", _X0, options={"y": 2.5}) for name in ("xlogy", "xlog1py")),
    *(tf(name, "", _X0, options={"y": 3}, integers=9)
      for name in ("truncatemod", "truncatediv", "bitwise.bitwise_and", "bitwise.bitwise_or", "bitwise.bitwise_xor",
                   "bitwise.left_shift", "bitwise.right_shift")),
    tf("bitwise.invert", "", _X0, integers=9),
    tf("math.accumulate_n", "", [_X0, _X1], shapes=((3, 4, 6),) * 2),
    tf("compat.v1.boolean_mask", "", _X0, options={"mask": (True, False, True, True), "axis": 1}),
    tf("searchsorted", "", (0.1, 0.5, 1.0), _X0, shapes=((3,),)),
    tf("keras.backend.cast_to_floatx", "", _X0, integers=9),
    tf("linalg.cross", "", _X0, options={"b": _X1}, shapes=((3, 4, 3),) * 2),
]  # fmt: skip

_IMAGES = ((3, 6, 7, 3),)
_PICTURES = [
    *(op("image", "Resize", how, {"size": [4, 9], "interpolation": how}, shapes=_IMAGES)
      for how in ("nearest", "bilinear", "bicubic")),
    op("image", "RGBToHSV", shapes=_IMAGES),
    op("image", "RGBToHSV", "grey", whole=True, shapes=_IMAGES),
    op("image", "HSVToRGB", whole=True, shapes=_IMAGES),
    op("image", "HSVToRGB", "drawn", scale=0.3, shapes=_IMAGES),
    op("image", "GaussianBlur", "", {"kernel_size": [3, 3], "sigma": [1.0, 0.7]}, shapes=_IMAGES),
    op("image", "ExtractPatches", "", {"size": [2, 3]}, shapes=_IMAGES),
    op("image", "ExtractPatches", "same", {"size": [2, 3], "strides": [1, 2], "padding": "same"}, shapes=_IMAGES),
]  # fmt: skip

TENSORFLOW_NODES: tuple[Case, ...] = (
    *_BINARY, *_UNARY, *_ALONG, *_SHAPES, *_WINDOWS, *(replace(case, file=FILE) for case in (*_FUNCTIONS, *_PICTURES)),
)  # fmt: skip
