"""Cases: further nodes of ``keras.ops``, which only Keras 3 has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from layers.case import Case, X
from layers.table_operations import op as _op

_X0, _X1, _X2 = X(0), X(1), X(2)
_DRAW = np.random.default_rng(14)


def _constant(*shape: int) -> Any:
    return _DRAW.standard_normal(shape).astype(np.float32)


_ELEMENTWISE = [
    *(
        _op("numpy", name, scale=0.5)
        for name in (
            "Angle Arcsinh Cbrt Conj Conjugate Deg2rad Exp2 Fabs I0 Imag Isneginf Isposinf Isreal Rad2deg Real Signbit "
            "Sinc Trunc EmptyLike Array NanToNum"
        ).split()
    ),
    *(_op("math", name, scale=0.5) for name in ("Erf", "Erfc")),
    _op("numpy", "Arccosh", whole=True),
    _op("numpy", "Arctanh", scale=0.1),
    _op("math", "Erfinv", scale=0.1),
    *(_op("numpy", name, "", (), _X0, _X1) for name in "Fmax Fmin Fmod Heaviside Hypot Logaddexp2 Nextafter".split()),
    *(
        _op("numpy", name, "", (), _X0, _X1, integers=9)
        for name in (
            "BitwiseAnd BitwiseOr BitwiseXor BitwiseLeftShift BitwiseRightShift LeftShift RightShift Gcd Lcm".split()
        )
    ),
    *(_op("numpy", name, integers=9) for name in ("BitwiseNot", "BitwiseInvert")),
    _op("numpy", "BitwiseAnd", "number", (), _X0, 3, integers=9),
    _op("numpy", "LeftShift", "number", (), _X0, 3, integers=9),
    _op("numpy", "Ldexp", "", (), _X0, 3),
    _op("numpy", "Isclose", "", (), _X0, _X1, whole=True),
    _op("numpy", "Isclose", "tolerances", {"equal_nan": True}, _X0, _X1, 0.5, 0.5),
    _op("numpy", "Round"),
    _op("numpy", "Round", "decimals", {"decimals": 2}),
    _op("nn", "Threshold", "", {"threshold": 0.2, "default_value": -1.0}),
    _op("nn", "Squareplus", "", {"b": 2}),
    _op("core", "SaturateCast", "", {"dtype": "uint8"}, scale=300),
    _op("numpy", "Select", "", (), [_X0, _X1], [_X1, _X2], 0.5, whole=True),
    _op("numpy", "FullLike", "", (), _X0, 2.5),
    _op("numpy", "IsIn", "", {"invert": True}, _X0, [1, 3], integers=5),
    _op("numpy", "UnravelIndex", "", {"shape": [3, 4]}, shapes=((3, 4),), integers=12),
    _op("numpy", "UnravelIndex", "rows", {"shape": [3, 4]}, shapes=((5,),), integers=12),
    _op("numpy", "View", "", {"dtype": "int32"}),
    _op("numpy", "View", "smaller", {"dtype": "uint8"}, integers=9),
]

_ALONG = [
    *(
        _op("numpy", name, "", {"axis": 1, "keepdims": True})
        for name in (
            "Ptp Nanmax Nanmean Nanmin Nanprod Nanstd Nansum Nanvar Nanargmax Nanargmin Median Nanmedian".split()
        )
    ),
    _op("numpy", "Median", "axes", {"axis": [1, -1]}),
    _op("numpy", "CountNonzero", "", {"axis": 1}, whole=True),
    *(_op("numpy", name, "", {"axis": 1}) for name in ("Argsort", "Nancumsum", "Nancumprod")),
    *(
        _op("numpy", name, "", {"axis": 1, "keepdims": True}, _X0, share)
        for name, share in (("Quantile", 0.3), ("Nanquantile", 0.3), ("Percentile", 30), ("Nanpercentile", 30))
    ),
    _op("numpy", "Diff", "", {"n": 2, "axis": 1}),
    _op("numpy", "Average", "", {"axis": 1}),
    _op("numpy", "Average", "weights", {"axis": 1}, _X0, np.float32([1, 2, 3, 4])),
    _op("numpy", "Average", "tensors", {"axis": -1}, _X0, _X1, scale=0.1),
    _op("numpy", "Trapezoid", "", {"dx": 0.5, "axis": 1}),
    _op("numpy", "Max", "initial", {"axis": 1, "initial": 0.5}),
    _op("nn", "Moments", "", {"axes": [1], "keepdims": True}),
    _op("nn", "Moments", "axes", {"axes": [1, 2]}),
    _op("nn", "Glu", "", {"axis": 1}),
    _op("nn", "Sparsemax", "", {"axis": 1}),
    _op("nn", "Normalize", "epsilon", {"axis": [1, 2], "epsilon": 1e-3}),
    _op("math", "TopK", "", {"k": 3}),
    *(
        _op("linalg", "Norm", note, {"axis": axis, "ord": order, "keepdims": True})
        for note, axis, order in (("one", 1, 1), ("zero", -1, 0), ("three", 1, 3), ("matrix", [1, 2], "fro"))
    ),
    _op("numpy", "Digitize", "", (), _X0, [-1.0, 0.0, 0.5]),
    _op("numpy", "SearchSorted", "", {"side": "right"}, np.float32([-1, 0, 0.5]), _X0, shapes=((5,),)),
]

_SHAPES = [
    _op("numpy", "TakeAlongAxis", "", {"axis": 1}, _X0, np.int32([[[0, 1, 2, 3, -1, -2]]])),
    _op("core", "Slice", "", {"shape": [-1, 2, -1]}, _X0, [0, 1, 2]),
    _op("core", "SliceUpdate", "", (), _X0, [0, 1, 2], _X1, shapes=((3, 4, 6), (3, 2, 3))),
    *(_op("numpy", name, f"{k}", {"k": k}) for name in ("Tril", "Triu") for k in (-1, 0, 2)),
    _op("numpy", "Diagonal", "", {"offset": 1, "axis1": 1, "axis2": 2}),
    _op("numpy", "Trace", "", {"offset": -1, "axis1": 2, "axis2": 1}, shapes=((3, 4, 4),)),
    _op("numpy", "Hsplit", "", {"indices_or_sections": 2}),
    _op("numpy", "Dsplit", "", {"indices_or_sections": [1, 4]}),
    _op("numpy", "ArraySplit", "", {"indices_or_sections": 4, "axis": 2}),
    _op("numpy", "Append", "", {"axis": 1}, _X0, _X1),
    _op("numpy", "Hstack", "", (), [_X0, _X1]),
    _op("numpy", "Dstack", "", (), [_X0, _X1], shapes=((3, 4),) * 2),
    _op("numpy", "Dstack", "three", (), [_X0, _X1]),
    _op("numpy", "Fliplr"),
    _op("numpy", "Rot90", "", {"k": 3, "axes": [1, 2]}),
    _op("numpy", "Ravel"),
    _op("nn", "OneHot", "axis", {"num_classes": 5, "axis": 1, "dtype": "int32"}, integers=7),
    _op("nn", "MultiHot", "", {"num_classes": 5}, integers=7),
    _op("numpy", "Linspace", "", {"num": 5, "axis": 1}, _X0, _X1),
    _op("numpy", "Linspace", "open", {"num": 5, "endpoint": False, "axis": -1}, _X0, 2.5),
    _op("numpy", "Logspace", "", {"num": 4, "base": 2, "axis": 1}, _X0, _X1, scale=0.5),
    _op("numpy", "Vander", "", {"N": 4}, shapes=((5,),)),
    _op("numpy", "Vander", "increasing", {"N": 3, "increasing": True}, shapes=((5,),)),
    Case(**{**vars(_op("einops", "Rearrange", "", (), _X0, "b (h w) c -> b w (c h)")), "kwargs": {"h": 2}}),
    _op("nn", "DepthToSpace", "", {"block_size": 2}, shapes=((2, 3, 2, 8),)),
    _op("nn", "SpaceToDepth", "", {"block_size": 2, "data_format": "channels_first"}, shapes=((2, 3, 4, 6),)),
    _op("nn", "Unfold", "", {"kernel_size": [2, 3], "padding": 1, "stride": [1, 2]}, shapes=((2, 3, 5, 7),)),
    _op("nn", "Fold", "", {"output_size": [4, 5], "kernel_size": 2, "padding": [0, 1]}, shapes=((2, 12, 18),)),
    _op("image", "RGBToGrayscale", "", {"data_format": "channels_last"}, shapes=((2, 3, 4, 3),)),
    _op("image", "PadImages", "", {"top_padding": 1, "left_padding": 2, "target_height": 6, "right_padding": 0,
        "data_format": "channels_last"}, shapes=((2, 3, 4, 3),)),
    _op("image", "CropImages", "", {"top_cropping": 1, "bottom_cropping": 1, "left_cropping": 1, "target_width": 2,
        "data_format": "channels_last"}, shapes=((2, 4, 5, 3),)),
]  # fmt: skip

_PRODUCTS = [
    _op("numpy", "Dot", "", (), _X0, _constant(6, 2)),
    _op("numpy", "Dot", "vector", (), _X0, _constant(6)),
    _op("numpy", "Inner", "", (), _X0, _constant(5, 6)),
    _op("numpy", "Tensordot", "", {"axes": 1}, _X0, _constant(6, 2)),
    _op("numpy", "Tensordot", "axes", {"axes": [[2, 1], [0, 1]]}, _X0, _constant(6, 4, 3)),
    _op("numpy", "Matmul", "constant", (), _X0, _constant(6, 2)),
    _op("numpy", "Matmul", "vector", (), _X0, _constant(6)),
    _op("numpy", "Outer", "", (), _X0, _constant(5)),
    _op("numpy", "Kron", "", (), _X0, _constant(1, 2, 3)),
    _op("numpy", "Cross", "", (), _X0, _X1, shapes=((3, 4, 3),) * 2),
    _op("numpy", "Cross", "flat", {"axis": 1}, _X0, _X1, shapes=((3, 2, 5),) * 2),
    _op("math", "CDist", "", (), _X0, _X1, shapes=((3, 4, 6), (3, 2, 6))),
    _op("numpy", "Einsum", "constant", {"subscripts": "abc,cd->abd"}, _X0, _constant(6, 2)),
    *(_op("linalg", name, "", (), shapes=((3, 4, 4),)) for name in ("Det", "Inv")),
    _op("numpy", "Slogdet", "", (), shapes=((3, 4, 4),)),
    _op("linalg", "Solve", "", (), _X0, _X1, shapes=((3, 4, 4), (3, 4, 2))),
    _op("linalg", "Solve", "vector", (), _X0, _X1, shapes=((3, 4, 4), (3, 4))),
    _op("linalg", "SolveTriangular", "", {"lower": True}, _X0, _X1, shapes=((3, 3, 3), (3, 3, 2))),
    _op("linalg", "SolveTriangular", "upper", {}, _X0, _X1, shapes=((3, 3, 3), (3, 3))),
    *(_op("linalg", "CholeskyInverse", f"{upper}", {"upper": upper}, shapes=((3, 3, 3),)) for upper in (False, True)),
    *(_op("linalg", "Qr", mode, {"mode": mode}, shapes=((3, 5, 4),)) for mode in ("reduced", "complete")),
    _op("linalg", "SVD", "", {"compute_uv": False}, shapes=((3, 5, 4),)),
    _op("linalg", "Pinv", "", (), shapes=((3, 5, 4),)),
    _op("linalg", "MatrixRank", "", (), shapes=((3, 5, 4),), whole=True),
]

_NETWORK = [
    *(
        _op("nn", name, "", {"pool_size": 2, "strides": 1, "padding": "same"}, shapes=((3, 5, 4),))
        for name in ("MaxPool", "AveragePool")
    ),
    _op("nn", "MaxPool", "pictures", {"pool_size": [2, 3], "data_format": "channels_first"}, shapes=((2, 3, 4, 7),)),
    _op("nn", "AdaptiveMaxPool", "", {"output_size": 3}, shapes=((3, 7, 4),)),
    _op("nn", "AdaptiveAveragePool", "", {"output_size": 3}, shapes=((3, 7, 4),)),
    _op("nn", "Conv", "", {"strides": 2, "padding": "same"}, _X0, _constant(3, 6, 5), shapes=((3, 7, 6),)),
    _op("nn", "Conv", "groups", {"dilation_rate": 2}, _X0, _constant(2, 3, 4), shapes=((3, 7, 6),)),
    _op("nn", "Conv", "pictures", {"strides": [1, 2]}, _X0, _constant(2, 2, 3, 4), shapes=((2, 5, 6, 3),)),
    _op("nn", "DepthwiseConv", "", {"padding": "same"}, _X0, _constant(3, 6, 2), shapes=((3, 7, 6),)),
    _op("nn", "SeparableConv", "", {}, _X0, _constant(3, 6, 2), _constant(1, 12, 4), shapes=((3, 7, 6),)),
    _op("nn", "LayerNorm"),
    _op("nn", "LayerNorm", "weights", {"axis": -1, "epsilon": 1e-3}, _X0, _constant(6), _constant(6)),
    _op("nn", "LayerNorm", "axes", {"axis": [1, 2]}, _X0, _constant(4, 6)),
    _op("nn", "RMSNorm", "", {"axis": -1}, _X0, _constant(6)),
    _op("nn", "RMSNorm", "axis", {"axis": 1, "epsilon": 1e-3}),
    _op("nn", "BatchNorm", "", {"axis": -1}, _X0, _constant(6), np.abs(_constant(6)) + 1, _constant(6), _constant(6)),
    _op("nn", "BatchNorm", "axis", {"axis": 1, "epsilon": 0.1}, _X0, _constant(4), np.abs(_constant(4)) + 1),
    _op("nn", "DotProductAttention", "", {}, _X0, _X1, _X2, shapes=((2, 5, 4, 3), (2, 6, 4, 3), (2, 6, 4, 2))),
    _op("nn", "DotProductAttention", "causal", {"is_causal": True}, _X0, _X1, _X2, shapes=((2, 5, 4, 3),) * 3),
    _op("nn", "DotProductAttention", "groups", {}, _X0, _X1, _X2, None, None, 0.3,
        shapes=((2, 5, 4, 3), (2, 6, 2, 3), (2, 6, 2, 3))),
    _op("nn", "DotProductAttention", "bias", {}, _X0, _X1, _X2, X(3),
        np.array([True, False, True, True, True, False])[np.newaxis, np.newaxis, np.newaxis],
        shapes=((2, 5, 4, 3), (2, 6, 4, 3), (2, 6, 4, 3), (2, 4, 5, 6))),
]  # fmt: skip

_SIGNALS = [
    _op("math", "FFT", "", (), (_X0, _X1)),
    *(_op("math", name, "", (), (_X0, _X1)) for name in ("FFT2", "IFFT2")),
    _op("math", "RFFT"),
    *(_op("math", "RFFT", f"{length}", {"fft_length": length}) for length in (4, 9)),
    _op("math", "IRFFT", "", (), (_X0, _X1)),
    *(_op("math", "IRFFT", f"{length}", {"fft_length": length}, (_X0, _X1)) for length in (6, 13)),
    _op("math", "ExtractSequences", "", {"sequence_length": 4, "sequence_stride": 3}, shapes=((3, 2, 17),)),
    *(
        _op(
            "math", "STFT", f"{window}-{length}-{center}",
            {"sequence_length": length, "sequence_stride": 3, "fft_length": 10, "window": window, "center": center},
            shapes=((3, 40),),
        )
        for window, length, center in (("hann", 8, True), ("hamming", 7, False), (None, 8, True))
    ),
    *(
        _op(
            "math", "ISTFT", f"{window}-{length}-{center}",
            {"sequence_length": 8, "sequence_stride": 2, "fft_length": 8, "window": window, "center": center,
             "length": length},
            (_X0, _X1), shapes=((3, 9, 5),) * 2,
        )
        for window, length, center in (("hamming", None, False), (None, None, True), ("hamming", 12, True))
    ),
]  # fmt: skip

_LAST = {"data_format": "channels_last"}
_FIRST = {"data_format": "channels_first"}
_TURNED = np.array([0.8, -0.3, 2.2, -0.2, 1.1, -2.6, 0, 0], np.float32)
_TILTED = np.array([[0.9, 0.2, -1.3, 0.1, 1.2, 0.7, 0.01, 0.02]], np.float32)
_CORNERS = np.array([[0, 0], [0, 7], [5, 0], [5, 7]], np.float32)
_PULLED = np.array([[1, 0.5], [-0.5, 6], [6, 1], [4.5, 8]], np.float32)
_SCALE, _SHIFT = np.array([0.7, 1.4], np.float32), np.array([0.3, -0.6], np.float32)
_PIXELS = ((2, 6, 8, 3),)

_PICTURES = [
    replace(case, file="conformance_parts.npz")
    for case in (
        *(
            _op("image", "AffineTransform", f"{how}-{mode}",
                {**_LAST, "interpolation": how, "fill_mode": mode, "fill_value": 0.5}, _X0, _TURNED, shapes=_PIXELS)
            for how in ("nearest", "bilinear")
            for mode in ("constant", "nearest", "wrap", "reflect")
        ),
        _op("image", "AffineTransform", "each", _LAST, _X0, _X1, shapes=((2, 6, 8, 3), (2, 8)), scale=0.3),
        _op("image", "AffineTransform", "tilted", _FIRST, _X0, _TILTED, shapes=((2, 3, 6, 8),)),
        _op("image", "AffineTransform", "integers", _LAST, _X0, _TURNED, shapes=_PIXELS, integers=256),
        *(
            _op("image", "PerspectiveTransform", how, {**_LAST, "interpolation": how, "fill_value": -1}, _X0, _CORNERS,
                _PULLED, shapes=_PIXELS)
            for how in ("nearest", "bilinear")
        ),
        *(
            _op("image", "ScaleAndTranslate", f"{method}-{smooth}",
                {"spatial_dims": [1, -2], "method": method, "antialias": smooth}, _X0, (2, 5, 11, 3), _SCALE, _SHIFT,
                shapes=_PIXELS)
            for method in ("linear", "bicubic", "lanczos3", "lanczos5")
            for smooth in (True, False)
        ),
        _op("image", "ScaleAndTranslate", "axis", {"spatial_dims": [3], "method": "cubic"}, _X0, (2, 6, 8, 7),
            [2.5], [0.5], shapes=_PIXELS),
        _op("image", "SobelEdges", "", _LAST, shapes=_PIXELS),
        _op("image", "SobelEdges", "first", _FIRST, shapes=((2, 3, 2, 8),)),
        _op("image", "SSIM", "", {**_LAST, "max_val": 3.0, "filter_size": 5}, _X0, _X1, shapes=_PIXELS * 2),
        _op("image", "SSIM", "first", {**_FIRST, "filter_size": 4, "filter_sigma": 0.8, "k1": 0.1, "k2": 0.2}, _X0, _X1,
            shapes=((2, 3, 6, 8),) * 2),
        _op("numpy", "Bincount", "", {"minlength": 9}, shapes=((3, 20),), integers=8),
    )
]  # fmt: skip

MORE_OPERATIONS: tuple[Case, ...] = (
    *_ELEMENTWISE,
    *_ALONG,
    *_SHAPES,
    *_PRODUCTS,
    *_NETWORK,
    *_SIGNALS,
    *_PICTURES,
)
