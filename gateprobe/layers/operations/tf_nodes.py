"""``TensorFlowOpLayer``: single operations of TensorFlow, as TensorFlow 1.15 to 2.3 saved what is no layer.

The configuration holds a ``NodeDef``: the name of an operation, its attributes, and the inputs that are constants. The
name selects one of our own functions from a closed table. Meanings: ``api_def`` of TensorFlow 2.21; how the layer puts
constants between its inputs: ``tf_keras/src/engine/base_layer.py`` 2.15.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from gateprobe.errors import InputError
from gateprobe.graph import Argument, Array
from gateprobe.layers.base import Arguments, Layer, Scope, Tensor, Value
from gateprobe.layers.binding.registry import Binding, replays
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.layers.operations.node import floatx_of
from gateprobe.layers.operations.tf_functions import FUNCTIONS, Entry
from gateprobe.layers.operations.tf_operations import TensorFlowNode
from gateprobe.layers.operations.tf_parts import strided

_DTYPES: Mapping[str, str] = {
    "DT_HALF": "float16", "DT_BFLOAT16": "bfloat16", "DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_BOOL": "bool",
    "DT_INT8": "int8", "DT_INT16": "int16", "DT_INT32": "int32", "DT_INT64": "int64", "DT_UINT8": "uint8",
    "DT_UINT16": "uint16", "DT_UINT32": "uint32",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """What a raw operation is among the functions."""

    entry: Entry
    inputs: tuple[str, ...]
    """The parameter that each input is; one that begins with ``*`` takes all that the others leave."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Attribute → the parameter that it is."""


def _of(function: str, *inputs: str, **attributes: str) -> Operation:
    return Operation(FUNCTIONS[function], inputs, attributes)


def _own(function: Callable[..., Any], *inputs: str, **attributes: str) -> Operation:
    return Operation(Entry((*(name.lstrip("*") for name in inputs), *attributes.values()), function, True), inputs,
                     attributes)  # fmt: skip


def _split_evenly(floatx: str, axis: Value, value: Value, num_split: int = 1) -> Any:
    return FUNCTIONS["split"].function(floatx, value, num_split, axis)


def _product(floatx: str, x: Value, y: Value, adj_x: bool = False, adj_y: bool = False) -> Tensor:
    product: Tensor = FUNCTIONS["linalg.matmul"].function(floatx, x, y, transpose_a=adj_x, transpose_b=adj_y)
    return product


def _einsum(floatx: str, inputs: Value, equation: str = "") -> Tensor:
    total: Tensor = FUNCTIONS["einsum"].function(floatx, equation, *inputs)
    return total


def _mirrored(floatx: str, tensor: Value, paddings: Value, mode: str = "REFLECT") -> Array:
    padded: Array = FUNCTIONS["pad"].function(floatx, tensor, paddings, mode)
    return padded


def _resizing(method: str) -> Operation:
    """Return a resizing between the centres of pixels, as every ``tf.image.resize`` of TensorFlow 2 is."""

    def resize(
        floatx: str, images: Value, size: Value, align_corners: bool = False, half_pixel_centers: bool = False
    ) -> Tensor:
        if align_corners or not half_pixel_centers:
            raise InputError("resizing other than between the centres of pixels is not replayed")
        result: Tensor = FUNCTIONS["image.resize"].function(floatx, images, size, method)
        return result

    return _own(resize, "images", "size", align_corners="align_corners", half_pixel_centers="half_pixel_centers")


_NAMED = {
    **dict.fromkeys(("Add", "AddV2"), "math.add"),
    "Sub": "math.subtract", "Mul": "math.multiply", "RealDiv": "math.truediv", "DivNoNan": "math.divide_no_nan",
    "MulNoNan": "math.multiply_no_nan", "FloorDiv": "math.floordiv", "FloorMod": "math.floormod", "Pow": "math.pow",
    "TruncateMod": "truncatemod", "Mod": "truncatemod", "TruncateDiv": "truncatediv", "Maximum": "math.maximum",
    "Minimum": "math.minimum", "SquaredDifference": "math.squared_difference", "Xlogy": "math.xlogy",
    "Xlog1py": "math.xlog1py", "Xdivy": "math.xdivy", "Greater": "math.greater", "GreaterEqual": "math.greater_equal",
    "Less": "math.less", "LessEqual": "math.less_equal", "LogicalAnd": "math.logical_and",
    "LogicalOr": "math.logical_or", "BitwiseAnd": "bitwise.bitwise_and", "BitwiseOr": "bitwise.bitwise_or",
    "BitwiseXor": "bitwise.bitwise_xor", "LeftShift": "bitwise.left_shift", "RightShift": "bitwise.right_shift",
}  # fmt: skip
_OF_ONE = {
    **{
        name: f"math.{name.lower()}"
        for name in (
            "Sqrt Rsqrt Reciprocal Exp Expm1 Log Log1p Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh Acosh Atanh "
            "Floor Ceil Erf Erfc Erfinv Abs Square Sign Rint Round Sigmoid Softplus"
        ).split()
    },
    **{name: f"nn.{name.lower()}" for name in "Relu Relu6 Elu Selu Softsign".split()},
    "Inv": "math.reciprocal", "Neg": "math.negative", "IsNan": "math.is_nan", "IsInf": "math.is_inf",
    "IsFinite": "math.is_finite", "LogicalNot": "math.logical_not", "Invert": "bitwise.invert",
    "Identity": "identity", "StopGradient": "stop_gradient", "PreventGradient": "stop_gradient",
}  # fmt: skip
_REDUCING = {name: name.lower() for name in "Mean Sum Prod Max Min Any All".split()} | {
    "EuclideanNorm": "euclidean_norm"
}
_SLICING = "begin_mask end_mask ellipsis_mask new_axis_mask shrink_axis_mask".split()
_SHAPE = "compat.v1.shape"
_CONV = {name: name for name in ("strides", "padding", "data_format", "dilations")}
_POOL = {name: name for name in ("ksize", "strides", "padding", "data_format")}

OPERATIONS: Mapping[str, Operation] = {
    **{name: _of(function, "x", "y") for name, function in _NAMED.items()},
    **{name: _of(function, FUNCTIONS[function].parameters[0]) for name, function in _OF_ONE.items()},
    **{
        name: _of(f"math.reduce_{function}", "input_tensor", "axis", keep_dims="keepdims")
        for name, function in _REDUCING.items()
    },
    "Equal": _of("math.equal", "x", "y", incompatible_shape_error=""),
    "NotEqual": _of("math.not_equal", "x", "y", incompatible_shape_error=""),
    "Atan2": _of("math.atan2", "y", "x"),
    "AddN": _of("math.add_n", "*inputs"),
    "BiasAdd": _of("nn.bias_add", "value", "bias", data_format="data_format"),
    "LeakyRelu": _of("nn.leaky_relu", "features", alpha="alpha"),
    "Softmax": _of("nn.softmax", "logits"),
    "LogSoftmax": _of("nn.log_softmax", "logits"),
    **dict.fromkeys(("Select", "SelectV2"), _of("where", "condition", "x", "y")),
    "ClipByValue": _of("clip_by_value", "t", "clip_value_min", "clip_value_max"),
    "ArgMax": _of("math.argmax", "input", "axis", output_type="output_type"),
    "ArgMin": _of("math.argmin", "input", "axis", output_type="output_type"),
    "Cumsum": _of("math.cumsum", "x", "axis", exclusive="exclusive", reverse="reverse"),
    "Cumprod": _of("math.cumprod", "x", "axis", exclusive="exclusive", reverse="reverse"),
    "TopKV2": _of("math.top_k", "input", "k", sorted="sorted"),
    "MatMul": _of("linalg.matmul", "a", "b", transpose_a="transpose_a", transpose_b="transpose_b"),
    **{name: _own(_product, "x", "y", adj_x="adj_x", adj_y="adj_y") for name in ("BatchMatMul", "BatchMatMulV2")},
    "Einsum": _own(_einsum, "*inputs", equation="equation"),
    "MatrixBandPart": _of("linalg.band_part", "input", "num_lower", "num_upper"),
    "ConcatV2": _of("concat", "*values", "axis"),
    "Pack": _of("stack", "*values", axis="axis"),
    "Unpack": _of("unstack", "value", axis="axis", num="num"),
    "Split": _own(_split_evenly, "axis", "value", num_split="num_split"),
    "SplitV": _of("split", "value", "num_or_size_splits", "axis", num_split=""),
    "Slice": _of("slice", "input_", "begin", "size"),
    "StridedSlice": _own(strided, "x", "begin", "end", "strides", **{name: name for name in _SLICING}),
    "ExpandDims": _of("expand_dims", "input", "axis"),
    "Squeeze": _of("squeeze", "input", squeeze_dims="axis"),
    "Reshape": _of("reshape", "tensor", "shape"),
    "Transpose": _of("transpose", "a", "perm"),
    "Tile": _of("tile", "input", "multiples"),
    "ReverseV2": _of("reverse", "tensor", "axis"),
    "Roll": _of("roll", "input", "shift", "axis"),
    "BroadcastTo": _of("broadcast_to", "input", "shape"),
    "Pad": _of("pad", "tensor", "paddings"),
    "PadV2": _of("pad", "tensor", "paddings", "constant_values"),
    "MirrorPad": _own(_mirrored, "tensor", "paddings", mode="mode"),
    "GatherV2": _of("gather", "params", "indices", "axis", batch_dims="batch_dims"),
    "Cast": _of("cast", "x", DstT="dtype", Truncate=""),
    "ZerosLike": _of("zeros_like", "input"),
    "OnesLike": _of("ones_like", "input"),
    "OneHot": _of("one_hot", "indices", "depth", "on_value", "off_value", axis="axis", T="dtype"),
    "Shape": _of(_SHAPE, "input"),
    "Fill": _of("fill", "dims", "value"),
    "Range": _of("range", "start", "limit", "delta"),
    "Conv2D": _of("nn.conv2d", "input", "filters", explicit_paddings="", use_cudnn_on_gpu="", **_CONV),
    "Conv3D": _of("nn.conv3d", "input", "filters", **_CONV),
    "DepthwiseConv2dNative": _of("nn.depthwise_conv2d", "input", "filter", explicit_paddings="", **_CONV),
    "AvgPool": _of("nn.avg_pool2d", "input", **_POOL),
    "MaxPool": _of("nn.max_pool2d", "input", explicit_paddings="", **_POOL),
    "ResizeBilinear": _resizing("bilinear"),
    "ResizeNearestNeighbor": _resizing("nearest"),
    "ResizeBicubic": _resizing("bicubic"),
}
"""Name of a raw operation → what it is here."""

_TYPES = frozenset(
    "T Tidx Tdim Tshape Tpaddings Tparams Tindices Taxis Tmultiples Tperm Tlen Tshift Index SrcT DstT TI N Tx Ty "
    "Tindex index_type out_type output_type Tout".split()
)
"""Attributes that name the dtype of an input or output, or count inputs: what is given says it, too."""
_STRUCTURE = frozenset(
    "axis shape perm multiples paddings begin end strides size num_or_size_splits shift depth k dims num_lower "
    "num_upper start limit delta".split()
)
"""Parameters that are numbers of Python, not operands."""


@dataclass(frozen=True, slots=True, eq=False)
class RawNode:
    """One operation of TensorFlow, with the constants among its inputs."""

    node: TensorFlowNode
    inputs: tuple[str, ...]
    """As in `Operation`."""
    constants: Mapping[int, Value]
    """Number of the input → its value."""
    settings: Mapping[str, Any]
    """By the names of parameters."""
    takes_shared: ClassVar[bool] = True
    """Whether it takes numbers without samples, too."""

    def replay(self, call: Arguments, scope: Scope) -> tuple[Tensor, ...]:
        """Put the constants between the tensors, and call the function."""
        inputs = _flat(call.get(0, "inputs"))
        for place in sorted(self.constants):
            inputs.insert(place, self.constants[place])
        named = _assigned(self.inputs, inputs)
        return self.node.replay(Arguments((), {**named, **self.settings}), scope)


def _flat(value: Value) -> list[Value]:
    return [item for part in value for item in _flat(part)] if isinstance(value, (tuple, list)) else [value]


def _assigned(parameters: Sequence[str], inputs: list[Value]) -> dict[str, Value]:
    """Give each parameter its input.

    Raises:
        InputError: There are more or fewer.
    """
    named: dict[str, Value] = {}
    left = list(inputs)
    for place, name in enumerate(parameters):
        behind = len(parameters) - place - 1
        if not left or (name.startswith("*") and len(left) <= behind):
            raise InputError(f"the operation takes {len(parameters)} inputs, and has {len(inputs)}")
        if name.startswith("*"):
            named[name[1:]] = tuple(left[: len(left) - behind])
            left = left[len(left) - behind :]
        else:
            named[name] = left.pop(0)
    if left:
        raise InputError(f"the operation takes {len(parameters)} inputs, and has {len(inputs)}")
    return named


@replays("TensorFlowOpLayer", takes=None)
def _bind_raw(binding: Binding) -> Layer:
    node, constants = binding.settings.raw("node_def"), binding.settings.raw("constants", {})
    binding.settings.finish()
    name, attributes = _read(node)
    operation = OPERATIONS.get(name)
    if operation is None:
        raise Unsupported(f"config.node_def: the TensorFlow operation {name!r:.60} is not in gateprobe's table")
    floatx = floatx_of(binding.precision)
    given = {
        place: _constant(value, _parameter(operation, place), attributes, floatx)
        for place, value in _numbered(constants)
    }
    settings = dict(_settings(name, operation, attributes, floatx))
    return RawNode(TensorFlowNode(operation.entry, floatx), operation.inputs, given, settings)


def _read(node: object) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the attributes of an operation.

    Raises:
        Unsupported: It is not written as TensorFlow 1.15 to 2.3 write it.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("op"), str):
        raise Unsupported("config.node_def: expected the name of an operation and its attributes")
    attributes = node.get("attr", {})
    if not isinstance(attributes, Mapping):
        raise Unsupported("config.node_def: the attributes are not a mapping")
    return node["op"], attributes


def _numbered(constants: object) -> list[tuple[int, Any]]:
    if not isinstance(constants, Mapping) or not all(str(key).isdecimal() for key in constants):
        raise Unsupported("config.constants: expected the numbers of inputs and their values")
    return [(int(str(key)), value) for key, value in constants.items()]


def _settings(name: str, operation: Operation, attributes: Mapping[str, Any], floatx: str) -> list[tuple[str, Any]]:
    """Return the attributes that say how to compute, by the names of parameters.

    Raises:
        Unsupported: One is not understood.
    """
    found = []
    for key, value in attributes.items():
        parameter = operation.attributes.get(key)
        if parameter:
            setting = _attribute(name, key, value)
            made_here = key == "T" and setting == "float32"  # a result in the precision of the replay, and no cast
            found.append((parameter, floatx if made_here else setting))
        elif parameter is None and key not in _TYPES and not key.startswith("_"):
            raise Unsupported(f"config.node_def: the attribute {key!r:.40} of {name} is not understood")
    return found


def _attribute(name: str, key: str, value: object) -> Any:
    """Return the value of an attribute, as ``google.protobuf.json_format`` writes it."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, inner),) = value.items()
        if kind == "i" and str(inner).lstrip("-").isdecimal():
            return int(inner)
        if kind == "f" and isinstance(inner, (int, float)):
            return float(inner)
        if kind == "b" and isinstance(inner, bool):
            return inner
        if kind == "s" and isinstance(inner, str):
            return _text(inner)
        if kind == "type" and inner in _DTYPES:
            return _DTYPES[inner]
        if kind == "list" and isinstance(inner, Mapping) and inner.keys() <= {"i"}:
            return tuple(_attribute(name, key, {"i": item}) for item in inner.get("i", ()))
    raise Unsupported(f"config.node_def: the attribute {key} of {name} is {value!r:.60}")


def _text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Unsupported(f"config.node_def: {encoded!r:.40} is no text") from None


def _parameter(operation: Operation, place: int) -> str:
    """Return which parameter an input is; the last of several that one takes is behind them."""
    names = operation.inputs
    if names[0].startswith("*"):
        return "" if len(names) == 1 else names[-1]
    return names[place] if place < len(names) else ""


def _constant(value: Any, parameter: str, attributes: Mapping[str, Any], floatx: str) -> Argument:
    """Return a constant input: numbers of Python where they say how to compute, else an array of its dtype.

    Raises:
        Unsupported: It holds something else than numbers.
    """
    if isinstance(value, Mapping):  # as tf.keras 2.12 and later write arrays
        inner = value.get("config")
        value = inner.get("value") if isinstance(inner, Mapping) else None
    array = _array(value)
    if array.dtype.kind in "iu" and (parameter in _STRUCTURE or (not parameter and array.ndim == 0)):
        return _tuples(array.tolist())
    kind = attributes.get("T", {})
    name = _DTYPES.get(str(kind.get("type"))) if isinstance(kind, Mapping) else None
    if name is None or array.dtype.kind not in "iuf" or name in ("bool", "float16", "bfloat16"):
        return array.astype(floatx) if array.dtype.kind == "f" else array
    return array.astype(floatx if name == "float32" else name)


def _array(value: Any) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise Unsupported(f"config.constants: {value!r:.60} are no numbers")
    return array


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
