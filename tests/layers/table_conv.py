"""Cases: convolutions and pooling."""

from __future__ import annotations

from gateprobe.graph import Era
from layers.case import Case

K2, K3 = (Era.KERAS2,), (Era.KERAS3,)
_SEQUENCE, _IMAGE, _VOLUME = ((3, 9, 4),), ((2, 7, 8, 4),), ((2, 5, 4, 6, 2),)

_CONV = [
    Case("Conv1D", "", {"filters": 3, "kernel_size": 3}, _SEQUENCE, ((3, 4, 3), (3,)), masked=(0,)),
    Case(
        "Conv1D",
        "same-strides",
        {"filters": 3, "kernel_size": 4, "padding": "same", "strides": 2, "activation": "relu"},
        _SEQUENCE,
        ((4, 4, 3), (3,)),
    ),
    Case(
        "Conv1D",
        "causal-dilated",
        {"filters": 3, "kernel_size": 3, "padding": "causal", "dilation_rate": 2, "use_bias": False},
        _SEQUENCE,
        ((3, 4, 3),),
    ),
    Case("Conv1D", "groups", {"filters": 6, "kernel_size": 2, "groups": 2}, _SEQUENCE, ((2, 2, 6), (6,))),
    Case("Conv2D", "", {"filters": 3, "kernel_size": [3, 2]}, _IMAGE, ((3, 2, 4, 3), (3,))),
    Case(
        "Conv2D",
        "same-strides",
        {"filters": 3, "kernel_size": 3, "padding": "same", "strides": [2, 3]},
        _IMAGE,
        ((3, 3, 4, 3), (3,)),
    ),
    Case(
        "Conv2D",
        "same-dilated",
        {"filters": 3, "kernel_size": 2, "padding": "same", "dilation_rate": [2, 1]},
        _IMAGE,
        ((2, 2, 4, 3), (3,)),
    ),
    Case(
        "Conv2D",
        "first",
        {"filters": 3, "kernel_size": 3, "data_format": "channels_first"},
        ((2, 4, 7, 8),),
        ((3, 3, 4, 3), (3,)),
        eras=K3,
    ),
    Case("Conv3D", "", {"filters": 3, "kernel_size": 2, "padding": "same"}, _VOLUME, ((2, 2, 2, 2, 3), (3,))),
    Case(
        "DepthwiseConv1D",
        "",
        {"kernel_size": 3, "depth_multiplier": 2, "activation": "tanh"},
        _SEQUENCE,
        ((3, 4, 2), (8,)),
    ),
    Case("DepthwiseConv2D", "same", {"kernel_size": 3, "padding": "same", "strides": 2}, _IMAGE, ((3, 3, 4, 1), (4,))),
    Case(
        "SeparableConv1D",
        "",
        {"filters": 5, "kernel_size": 3, "depth_multiplier": 2, "padding": "same"},
        _SEQUENCE,
        ((3, 4, 2), (1, 8, 5), (5,)),
    ),
    Case(
        "SeparableConv2D",
        "",
        {"filters": 5, "kernel_size": 2, "dilation_rate": 2},
        _IMAGE,
        ((2, 2, 4, 1), (1, 1, 4, 5), (5,)),
    ),
]

_TRANSPOSED = [
    Case("Conv1DTranspose", "", {"filters": 3, "kernel_size": 4, "strides": 3}, _SEQUENCE, ((4, 3, 4), (3,))),
    Case(
        "Conv1DTranspose",
        "sparse",
        {"filters": 3, "kernel_size": 2, "strides": 3, "padding": "same"},
        _SEQUENCE,
        ((2, 3, 4), (3,)),
    ),
    Case(
        "Conv1DTranspose", "dilated", {"filters": 3, "kernel_size": 3, "dilation_rate": 2}, _SEQUENCE, ((3, 3, 4), (3,))
    ),
    Case(
        "Conv2DTranspose",
        "same",
        {"filters": 3, "kernel_size": [3, 2], "strides": 2, "padding": "same", "activation": "relu"},
        _IMAGE,
        ((3, 2, 3, 4), (3,)),
    ),
    Case(
        "Conv2DTranspose",
        "output-padding",
        {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same", "output_padding": 1},
        _IMAGE,
        ((3, 3, 3, 4), (3,)),
    ),
    Case(
        "Conv2DTranspose",
        "output-padding-valid",
        {"filters": 3, "kernel_size": 3, "strides": 2, "output_padding": [1, 0], "use_bias": False},
        _IMAGE,
        ((3, 3, 3, 4),),
    ),
    Case("Conv3DTranspose", "", {"filters": 3, "kernel_size": 2, "strides": 2}, _VOLUME, ((2, 2, 2, 3, 2), (3,))),
]

_LOCAL = [
    Case(
        "LocallyConnected1D",
        "",
        {"filters": 3, "kernel_size": 3, "strides": 2, "activation": "tanh"},
        _SEQUENCE,
        ((4, 12, 3), (4, 3)),
        eras=K2,
    ),
    Case(
        "LocallyConnected1D",
        "first",
        {"filters": 3, "kernel_size": 3, "data_format": "channels_first", "use_bias": False},
        ((3, 4, 9),),
        ((7, 12, 3),),
        eras=K2,
    ),
    Case(
        "LocallyConnected2D",
        "",
        {"filters": 3, "kernel_size": [3, 2], "strides": [2, 3]},
        _IMAGE,
        ((9, 24, 3), (3, 3, 3)),
        eras=K2,
    ),
    Case(
        "LocallyConnected2D",
        "first",
        {"filters": 3, "kernel_size": [3, 2], "data_format": "channels_first", "use_bias": False},
        ((2, 4, 5, 4),),
        ((9, 24, 3),),
        eras=K2,
    ),
]

_RESIZED = [
    Case("ZeroPadding1D", "", {"padding": 2}, _SEQUENCE, masked=(0,)),
    Case("ZeroPadding1D", "sides", {"padding": [1, 3]}, _SEQUENCE),
    Case("ZeroPadding2D", "", {"padding": [1, 2]}, _IMAGE),
    Case("ZeroPadding2D", "sides", {"padding": [[1, 0], [2, 3]], "data_format": "channels_first"}, _IMAGE),
    Case("ZeroPadding3D", "", {"padding": 1}, _VOLUME),
    Case("Cropping1D", "", {"cropping": [1, 2]}, _SEQUENCE),
    Case("Cropping1D", "start", {"cropping": [1, 0]}, _SEQUENCE),
    Case("Cropping2D", "", {"cropping": [[1, 2], [0, 3]]}, _IMAGE),
    Case("Cropping3D", "", {"cropping": [2, 1, 1], "data_format": "channels_last"}, ((2, 5, 4, 6, 2),)),
    Case("UpSampling1D", "", {"size": 3}, _SEQUENCE, masked=(0,)),
    Case("UpSampling2D", "", {"size": [2, 3]}, _IMAGE),
    Case("UpSampling2D", "first", {"size": 2, "data_format": "channels_first"}, _IMAGE),
    Case("UpSampling2D", "bilinear", {"size": [3, 2], "interpolation": "bilinear"}, _IMAGE),
    Case("UpSampling2D", "bicubic", {"size": [3, 2], "interpolation": "bicubic"}, _IMAGE, eras=K2),
    Case("UpSampling3D", "", {"size": 2}, _VOLUME),
    Case("Resizing", "", {"height": 7, "width": 4}, _IMAGE),
    Case("Resizing", "nearest", {"height": 3, "width": 11, "interpolation": "nearest"}, _IMAGE),
    Case("Resizing", "bicubic", {"height": 3, "width": 11, "interpolation": "bicubic"}, _IMAGE, eras=K2),
    Case("CenterCrop", "", {"height": 2, "width": 3}, _IMAGE),
]

_POOL = [
    case
    for kind in ("Max", "Average")
    for case in (
        Case(f"{kind}Pooling1D", "", {"pool_size": 2}, _SEQUENCE, masked=(0,)),
        Case(f"{kind}Pooling1D", "same", {"pool_size": 4, "strides": 3, "padding": "same"}, _SEQUENCE),
        Case(f"{kind}Pooling2D", "", {"pool_size": [2, 3]}, _IMAGE),
        Case(f"{kind}Pooling2D", "same", {"pool_size": 3, "strides": 2, "padding": "same"}, _IMAGE),
        Case(f"{kind}Pooling2D", "first", {"pool_size": 2, "data_format": "channels_first"}, _IMAGE, eras=K3),
        Case(f"{kind}Pooling3D", "", {"pool_size": 2}, _VOLUME),
        Case(f"Global{kind}Pooling1D", "", {}, _SEQUENCE, masked=(0,)),
        Case(f"Global{kind}Pooling1D", "keepdims", {"keepdims": True}, _SEQUENCE, masked=(0,)),
        Case(f"Global{kind}Pooling1D", "first", {"data_format": "channels_first"}, _SEQUENCE),
        Case(f"Global{kind}Pooling2D", "", {}, _IMAGE),
        Case(f"Global{kind}Pooling3D", "", {"data_format": "channels_first"}, _VOLUME),
        Case(f"Adaptive{kind}Pooling1D", "", {"output_size": 4}, _SEQUENCE, eras=K3),
        Case(f"Adaptive{kind}Pooling2D", "", {"output_size": [3, 8]}, _IMAGE, eras=K3),
        Case(f"Adaptive{kind}Pooling3D", "", {"output_size": [2, 3, 4]}, _VOLUME, eras=K3),
    )
]

CONV: tuple[Case, ...] = (*_CONV, *_TRANSPOSED, *_LOCAL, *_RESIZED, *_POOL)
