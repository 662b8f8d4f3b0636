"""Cases: TensorFlow functions saved as layers by tf.keras."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateprobe.graph import Era
from layers.case import Case, X

_X0, _X1 = X(0), X(1)


def tf(function: str, note: str, *args: Any, options: Any = (), **drawn: Any) -> Case:
    number = len({arg.number for arg in (*args, *dict(options).values()) if isinstance(arg, X)})
    return Case(
        "TFOpLambda",
        f"{function}-{note}" if note else function,
        {"name": "op", "function": function},
        drawn.pop("shapes", ((3, 4, 6),) * max(1, number)),
        args=args,
        kwargs=dict(options),
        eras=(Era.KERAS2,),
        **drawn,
    )


_BINARY = [
    tf(name, "", _X0, options={"y": _X1})
    for name in (
        "__operators__.add math.add math.subtract math.multiply math.truediv math.divide math.divide_no_nan "
        "math.floordiv math.floormod math.maximum math.minimum math.squared_difference math.equal "
        "math.not_equal math.greater math.greater_equal math.less math.less_equal"
    ).split()
] + [
    tf("math.multiply", "constant", 2.0, options={"y": _X0}),
    tf("math.pow", "", _X0, options={"y": 2.0}),
    tf("__operators__.add", "row", _X0, options={"y": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)}),
]

_UNARY = [
    tf(name, "", _X0, whole=True)
    for name in (
        "math.negative math.abs math.square math.sign math.sqrt math.rsqrt math.reciprocal math.exp "
        "math.expm1 math.log math.log1p math.sin math.cos math.tanh math.floor math.ceil math.is_nan "
        "identity stop_gradient zeros_like ones_like math.sigmoid math.softplus nn.relu nn.relu6 nn.elu "
        "nn.selu nn.softsign nn.leaky_relu"
    ).split()
] + [tf(name, "drawn", _X0, scale=2) for name in ("nn.leaky_relu", "nn.elu", "math.softplus", "math.floor")]

_ALONG = [
    *(
        tf(f"math.reduce_{name}", "", _X0, options={"axis": 1, "keepdims": True})
        for name in "mean std variance sum prod max min logsumexp euclidean_norm".split()
    ),
    tf("math.reduce_sum", "axes", _X0, options={"axis": (1, 2)}),
    tf("math.argmax", "", _X0, options={"axis": -1}),
    tf("math.argmin", "", _X0, options={"axis": 1}),
    tf("math.cumsum", "", _X0, options={"axis": 1}),
    tf("math.cumsum", "reverse", _X0, options={"axis": 1, "reverse": True}),
    tf("math.l2_normalize", "", _X0, options={"axis": -1}),
    tf("compat.v1.norm", "", _X0, options={"ord": "euclidean", "axis": -1, "keepdims": None}),
    tf("nn.softmax", "", _X0),
    tf("nn.softmax", "time", _X0, options={"axis": 1}),
    tf("nn.log_softmax", "", _X0),
]

_SHAPES = [
    tf("concat", "", [_X0, _X1], options={"axis": 1}, shapes=((3, 4, 6), (3, 2, 6))),
    tf("stack", "", [_X0, _X1], options={"axis": 1}, shapes=((3, 4, 6),) * 2),
    tf("math.add_n", "", [_X0, _X1], shapes=((3, 4, 6),) * 2),
    tf("unstack", "", _X0, options={"axis": 1}),
    tf("split", "", _X0, options={"num_or_size_splits": 2, "axis": -1}),
    tf("split", "sizes", _X0, options={"num_or_size_splits": (1, 3), "axis": 1}),
    tf("expand_dims", "", _X0, options={"axis": -1}),
    tf("compat.v1.squeeze", "", _X0, options={"axis": [-1]}, shapes=((3, 4, 1),)),
    tf("reshape", "", _X0, options={"shape": (-1, 24)}),
    tf("compat.v1.transpose", "", _X0, options={"perm": (0, 2, 1), "conjugate": False}),
    tf("tile", "", _X0, options={"multiples": (1, 2, 1)}),
    tf("repeat", "", _X0, options={"repeats": 2, "axis": 1}),
    tf("reverse", "", _X0, options={"axis": [1]}),
    tf("compat.v1.pad", "", _X0, options={"paddings": [[0, 0], [1, 2], [0, 0]], "mode": "CONSTANT"}),
    tf("compat.v1.gather", "", _X0, options={"indices": 1, "axis": 1, "batch_dims": 0}),
    tf("cast", "", _X0, options={"dtype": "float32"}, integers=9),
    tf("one_hot", "", _X0, options={"depth": 5}, integers=7),
    tf("clip_by_value", "", _X0, options={"clip_value_min": -1.0, "clip_value_max": 0.5}),
    tf("linalg.matmul", "", _X0, options={"b": _X1, "transpose_b": True}, shapes=((3, 4, 6), (3, 2, 6))),
    tf("linalg.matmul", "constant", _X0, options={"b": ((1.0, 2.0),) * 6}),
]

_SLICES = [
    Case(
        "SlicingOpLambda",
        note,
        {"name": "slice", "function": "__operators__.getitem"},
        ((3, 4, 6),),
        args=(_X0,),
        kwargs={"slice_spec": key},
        eras=(Era.KERAS2,),
    )
    for note, key in (
        ("last", (slice(None), -1)),
        ("steps", (slice(None), slice(0, 3), slice(None, None, 2))),
        ("new-axis", (Ellipsis, None)),
    )
]

_MORE = [
    *(tf(f"__operators__.{name}", "", _X0, _X1, whole=True) for name in ("eq", "ne")),
    *(tf(f"math.{name}", "", _X0, options={"y": _X1}) for name in ("multiply_no_nan", "xdivy")),
    tf("compat.v1.floor_div", "", _X0, options={"y": 2}, integers=9),
    tf("math.atan2", "", _X0, options={"x": _X1}),
    tf("math.truediv", "integers", _X0, _X1, shapes=((3, 4),) * 2, integers=9, scale=1),
    tf("compat.v1.math.scalar_mul", "", 2.5, _X0),
    *(tf(f"math.{name}", "", _X0) for name in "erf rint round reciprocal_no_nan asinh log_sigmoid is_finite".split()),
    *(tf(f"nn.{name}", "", _X0) for name in ("gelu", "silu")),
    tf("nn.bias_add", "", _X0, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)),
    tf("math.top_k", "", _X0, 2),
    *(tf(name, direction, _X0, options={"axis": 1, "direction": direction})
      for name in ("sort", "argsort") for direction in ("ASCENDING", "DESCENDING")),
    tf("math.cumsum", "exclusive", _X0, options={"axis": 1, "exclusive": True, "reverse": True}),
    tf("math.cumprod", "", _X0, options={"axis": 1, "exclusive": True}),
    tf("math.count_nonzero", "", _X0, 1, whole=True),
    tf("clip_by_norm", "", _X0, 1.5, options={"axes": [2]}),
    tf("split", "rest", _X0, options={"num_or_size_splits": (1, -1), "axis": 1}),
    tf("slice", "", _X0, (0, 1, 2), (-1, 2, 3)),
    tf("roll", "", _X0, (1, -2), (1, 2)),
    tf("linalg.band_part", "", _X0, options={"num_lower": 1, "num_upper": -1}),
    tf("linalg.diag_part", "", _X0),
    tf("linalg.trace", "", _X0),
    tf("tensordot", "", _X0, ((1.0, 2.0),) * 6, 1),
    tf("einsum", "", "bij,bkj->bik", _X0, _X1),
    tf("one_hot", "axis", _X0, options={"depth": 5, "axis": 1, "dtype": "int32"}, integers=7),
    tf("sequence_mask", "", _X0, 5, shapes=((4,),), integers=7),
    tf("compat.v1.gather", "each", _X0, options={"indices": ((0, 1), (1, 1)), "axis": 1}),
    tf("compat.v1.nn.embedding_lookup", "", ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0)), _X0, "mod", integers=3),
    tf("keras.backend.batch_flatten", "", _X0),
]  # fmt: skip

_PARTS = "conformance_parts.npz"
_IMAGES = ((3, 4, 6, 3),)
_PARTED = [
    replace(case, file=_PARTS)
    for case in (
        tf(
            "strided_slice",
            "",
            _X0,
            options={"begin": (0, 1, 0), "end": (0, 4, 5), "strides": (1, 2, 1), "begin_mask": 1, "end_mask": 1},
        ),
        tf(
            "strided_slice",
            "masks",
            _X0,
            options={
                "begin": (0, 1, 0),
                "end": (0, 2, 0),
                "ellipsis_mask": 1,
                "shrink_axis_mask": 2,
                "new_axis_mask": 4,
            },
        ),
        tf(
            "compat.v1.gather_nd",
            "",
            _X0,
            options={"indices": _X1, "batch_dims": 1, "bad_indices_policy": ""},
            shapes=((3, 4, 6), (3, 2)),
            integers=4,
        ),
        tf(
            "gather_nd",
            "one",
            _X0,
            options={"indices": _X1, "batch_dims": 1},
            shapes=((3, 4, 6), (3, 5, 1)),
            integers=4,
        ),
        tf(
            "reverse_sequence",
            "",
            _X0,
            options={"seq_lengths": _X1, "seq_axis": 1},
            shapes=((3, 4, 6), (3,)),
            integers=5,
        ),
        tf(
            "reverse_sequence",
            "last",
            _X0,
            options={"seq_lengths": _X1, "seq_axis": 2, "batch_axis": 0},
            shapes=((3, 4, 6), (3,)),
            integers=7,
        ),
        tf("signal.frame", "", _X0, options={"frame_length": 3, "frame_step": 2}),
        tf("ensure_shape", "", _X0, options={"shape": (None, 4, 6)}),
        tf("nn.dropout", "", _X0, options={"rate": 0.0}),
        tf("compat.v1.nn.crelu", "", _X0, options={"axis": 1}),
        tf("linalg.det", "", _X0, shapes=((3, 4, 4),)),
        tf("linalg.inv", "", _X0, shapes=((3, 4, 4),)),
        tf("linalg.solve", "", _X0, options={"rhs": _X1}, shapes=((3, 4, 4), (3, 4, 2))),
        tf("linalg.matvec", "", _X0, options={"b": _X1}, shapes=((3, 4, 6), (3, 6))),
        tf("linalg.matvec", "transposed", _X0, options={"b": _X1, "transpose_a": True}, shapes=((3, 4, 6), (3, 4))),
        tf("linalg.diag", "", _X0),
        tf("linalg.set_diag", "", _X0, options={"diagonal": _X1}, shapes=((3, 4, 6), (3, 4))),
        tf("image.rgb_to_grayscale", "", _X0, shapes=_IMAGES),
        tf("image.per_image_standardization", "", _X0, shapes=_IMAGES),
        tf("image.per_image_standardization", "flat", _X0, shapes=_IMAGES, scale=1e-3),
        tf("image.flip_left_right", "", _X0, shapes=_IMAGES),
        tf("image.flip_up_down", "", _X0, shapes=_IMAGES),
        tf("nn.space_to_depth", "", _X0, options={"block_size": 2}, shapes=_IMAGES),
        tf("nn.depth_to_space", "", _X0, options={"block_size": 2}, shapes=((3, 4, 6, 8),)),
    )
]

TENSORFLOW: tuple[Case, ...] = (*_BINARY, *_UNARY, *_ALONG, *_SHAPES, *_MORE, *_SLICES, *_PARTED)
