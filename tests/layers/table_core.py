"""Cases: dense, embedding, masking, inert layers, shapes, merging, activations, normalization, attention."""

from __future__ import annotations

from gateprobe.graph import Era
from layers.case import Case, W, X

K2, K3 = (Era.KERAS2,), (Era.KERAS3,)

_INERT = [
    Case(name, config=config, masked=(0,))
    for name, config in (
        ("Dropout", {"rate": 0.5}),
        ("SpatialDropout1D", {"rate": 0.5}),
        ("GaussianNoise", {"stddev": 0.5}),
        ("GaussianDropout", {"rate": 0.5}),
        ("AlphaDropout", {"rate": 0.5}),
        ("ActivityRegularization", {"l1": 0.1}),
        ("Identity", {}),
    )
] + [
    Case("SpatialDropout2D", config={"rate": 0.5}, shapes=((2, 3, 4, 5),)),
    Case("SpatialDropout3D", config={"rate": 0.5}, shapes=((2, 3, 4, 5, 2),)),
]

_TOKENS = {"input_dim": 9, "output_dim": 4}
_DENSE = [
    Case("Dense", "2d", {"units": 3, "activation": "tanh"}, ((4, 6),), ((6, 3), (3,))),
    Case("Dense", "3d-masked", {"units": 3, "activation": "softmax"}, ((4, 5, 6),), ((6, 3), (3,)), masked=(0,)),
    Case("Dense", "4d-nobias", {"units": 3, "use_bias": False}, ((4, 2, 5, 6),), ((6, 3),)),
    Case("Dense", "integers", {"units": 3}, ((4, 6),), ((6, 3), (3,)), integers=9, eras=K3),
    Case("Activation", "relu", {"activation": "relu"}, masked=(0,)),
    Case("Activation", "hard_sigmoid", {"activation": "hard_sigmoid"}, scale=4),
    Case("Activation", "softmax", {"activation": "softmax"}),
    Case("Embedding", "", {"input_dim": 9, "output_dim": 4}, ((4, 5),), ((9, 4),), integers=9),
    Case("Embedding", "masked", {"input_dim": 9, "output_dim": 4, "mask_zero": True}, ((4, 5),), ((9, 4),), integers=3),
    Case("ReversibleEmbedding", "", {**_TOKENS, "mask_zero": True}, ((4, 5),), ((9, 4),), integers=9, eras=K3),
    Case("ReversibleEmbedding", "tied", _TOKENS, ((4, 5, 4),), ((9, 4),), kwargs={"reverse": True}, eras=K3),
    Case(
        "ReversibleEmbedding",
        "untied",
        {**_TOKENS, "tie_weights": False, "logit_soft_cap": 2.0},
        ((4, 5, 4),),
        ((9, 4), (4, 9)),
        kwargs={"reverse": True},
        eras=K3,
    ),
    Case("Masking", "", {"mask_value": 0.0}, ((4, 5, 2),), whole=True),
    Case("Masking", "value", {"mask_value": 1.0}, ((4, 5, 2),), whole=True),
]

_EINSUM = [
    Case(
        "EinsumDense", "2d", {"equation": "ab,bc->ac", "output_shape": 3, "bias_axes": "c"}, ((4, 6),), ((6, 3), (3,))
    ),
    Case(
        "EinsumDense",
        "left",
        {"equation": "...x,xy->...y", "output_shape": 3, "bias_axes": "y", "activation": "tanh"},
        weights=((6, 3), (3,)),
        masked=(0,),
    ),
    Case(
        "EinsumDense",
        "heads",
        {"equation": "abc,cde->abde", "output_shape": (None, 2, 3), "bias_axes": "de"},
        weights=((6, 2, 3), (2, 3)),
    ),
    Case(
        "EinsumDense",
        "inner-bias",
        {"equation": "abc,bd->adc", "output_shape": (3, 6), "bias_axes": "d"},
        weights=((5, 3), (3, 1)),
    ),
    Case("EinsumDense", "right", {"equation": "ab...,bc->ac...", "output_shape": 3}, weights=((5, 3),)),
]

_SHAPE = [
    Case("Flatten", masked=(0,)),
    Case("Flatten", "first", {"data_format": "channels_first"}, ((2, 3, 4, 5),)),
    Case("Flatten", "1d", {}, ((4,),)),
    Case("Reshape", "", {"target_shape": [10, -1]}, masked=(0,)),
    Case("Reshape", "full", {"target_shape": [3, 2, 5]}),
    Case("Permute", "", {"dims": [2, 1]}, masked=(0,)),
    Case("RepeatVector", "", {"n": 3}, ((4, 6),)),
]

_TWO, _THREE = ((4, 5, 6),) * 2, ((4, 5, 6),) * 3
_MERGE = [
    case
    for name in ("Add", "Multiply", "Average", "Maximum", "Minimum")
    for case in (
        Case(name, "three", shapes=_THREE, masked=(0, 1, 2)),
        Case(name, "half-masked", shapes=_TWO, masked=(1,)),
        Case(name, "broadcast", shapes=((4, 5, 6), (4, 1, 6), (4, 6))),
    )
] + [
    Case("Subtract", shapes=_TWO, masked=(0, 1)),
    Case("Concatenate", "features", shapes=((4, 5, 6), (4, 5, 2)), masked=(0, 1)),
    Case("Concatenate", "half-masked", shapes=((4, 5, 6), (4, 5, 2)), masked=(0,)),
    Case("Concatenate", "time", {"axis": 1}, ((4, 5, 6), (4, 2, 6)), masked=(0, 1)),
    Case("Concatenate", "plain", {"axis": 1}, ((4, 5), (4, 2))),
    Case("Dot", "", {"axes": 1}, ((4, 6), (4, 6))),
    Case("Dot", "time", {"axes": [1, 1]}, ((4, 5), (4, 5, 6)), masked=(1,)),
    Case("Dot", "features", {"axes": -1}, ((4, 5, 6), (4, 3, 6))),
    Case("Dot", "mixed", {"axes": [2, 1]}, ((4, 5, 6), (4, 6, 3))),
    Case("Dot", "high", {"axes": [3, 1]}, ((2, 3, 4, 5), (2, 5, 3, 2))),
    Case("Dot", "cosine", {"axes": 1, "normalize": True}, ((4, 6), (4, 6))),
]

_ACTIVATIONS = [
    Case("ReLU", "", masked=(0,)),
    Case("ReLU", "all", {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.25}, scale=2),
    Case("ReLU", "threshold", {"threshold": 0.25}),
    Case("LeakyReLU", "", masked=(0,)),
    Case("LeakyReLU", "slope", per_era={K2[0]: {"alpha": 0.1}, K3[0]: {"negative_slope": 0.1}}),
    Case("ELU", "", {"alpha": 0.7}, masked=(0,)),
    Case("ThresholdedReLU", "", {"theta": 0.5}, masked=(0,), eras=K2),
    Case("PReLU", "", weights=((5, 6),), masked=(0,)),
    Case("PReLU", "shared", {"shared_axes": [1]}, weights=((1, 6),)),
    Case("Softmax", ""),
    Case("Softmax", "axis", {"axis": 1}),
    Case("Softmax", "axes", {"axis": [1, 2]}),
    Case("Softmax", "masked", shapes=((4, 5),), masked=(0,)),
]

_NORMALIZATION = [
    Case("BatchNormalization", "", weights=((6,), (6,), (6,), W((6,))), masked=(0,)),
    Case("BatchNormalization", "4d", {"epsilon": 0.01}, ((2, 3, 4, 5),), ((5,), (5,), (5,), W((5,)))),
    Case("BatchNormalization", "axis", {"axis": 1, "scale": False}, ((2, 3, 4),), ((3,), (3,), W((3,)))),
    Case("BatchNormalization", "bare", {"center": False, "scale": False}, weights=((6,), W((6,)))),
    Case("LayerNormalization", "", weights=((6,), (6,)), masked=(0,)),
    Case("LayerNormalization", "axes", {"axis": [1, 2], "center": False}, weights=((5, 6),)),
    Case("LayerNormalization", "inner", {"axis": 1}, weights=((5,), (5,))),
    Case("LayerNormalization", "rms", {"rms_scaling": True}, weights=((6,),), eras=K3),
    Case("GroupNormalization", "", {"groups": 2}, weights=((6,), (6,)), masked=()),
    Case("GroupNormalization", "first", {"groups": 2, "axis": 1}, ((3, 4, 5, 2),), ((4,), (4,))),
    Case("GroupNormalization", "instance", {"groups": -1, "scale": False}, weights=((6,),)),
    Case("RMSNormalization", "", weights=((6,),), masked=(0,), eras=K3),
    Case("UnitNormalization", "", masked=(0,)),
    Case("UnitNormalization", "axes", {"axis": [1, 2]}),
]

_QV = ((4, 5, 6), (4, 3, 6))
_ATTENTION = [
    Case("Attention", "", shapes=_QV, masked=(0, 1)),
    Case("Attention", "unmasked", shapes=_QV),
    Case("Attention", "key", {"use_scale": True}, (*_QV, (4, 3, 6)), ((),), masked=(1,)),
    Case("Attention", "concat", {"score_mode": "concat", "use_scale": True}, _QV, ((), ())),
    Case("Attention", "causal", shapes=_TWO, masked=(0,), kwargs={"use_causal_mask": True}),
    Case("Attention", "causal-config", {"causal": True}, _TWO, eras=K2),
    Case("Attention", "scores", shapes=_QV, masked=(0, 1), kwargs={"return_attention_scores": True}),
    Case("AdditiveAttention", "", shapes=_QV, weights=((6,),), masked=(0, 1)),
    Case("AdditiveAttention", "unscaled", {"use_scale": False}, _QV),
]

_HEADS = ((6, 2, 3), (2, 3), (6, 2, 3), (2, 3), (6, 2, 3), (2, 3), (2, 3, 6), (6,))
_QUERY_VALUE = (X(0), X(1))
_MULTI_HEAD = [
    Case("MultiHeadAttention", "", {"num_heads": 2, "key_dim": 3}, _QV, _HEADS, (0, 1), _QUERY_VALUE),
    Case("MultiHeadAttention", "plain", {"num_heads": 2, "key_dim": 3}, _QV, _HEADS, (), _QUERY_VALUE),
    Case(
        "MultiHeadAttention",
        "causal-dropout",
        {"num_heads": 2, "key_dim": 3, "dropout": 0.1, "value_dim": 4, "use_bias": False, "output_shape": 5},
        _TWO,
        ((6, 2, 3), (6, 2, 3), (6, 2, 4), (2, 4, 5)),
        (1,),
        _QUERY_VALUE,
        {"use_causal_mask": True},
    ),
    Case(
        "MultiHeadAttention",
        "scores",
        {"num_heads": 2, "key_dim": 3},
        _QV,
        _HEADS,
        (0, 1),
        _QUERY_VALUE,
        {"return_attention_scores": True},
    ),
    Case(
        "GroupQueryAttention",
        "",
        {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
        _QV,
        ((6, 4, 3), (4, 3), (6, 2, 3), (2, 3), (6, 2, 3), (2, 3), (4, 3, 6), (6,)),
        (0, 1),
        _QUERY_VALUE,
        eras=K3,
    ),
]

_WRAPPED = {"class_name": "Dense", "config": {"units": 3}}
_PREPROCESSING = [
    Case("Rescaling", "", {"scale": 0.5, "offset": -1.0}, masked=(0,)),
    Case("Rescaling", "list", {"scale": [1.0, 2.0, 3.0], "offset": [0.0, 0.5, 1.0]}, ((4, 3),)),
    Case("Normalization", "config", {"mean": [1.0, 2.0, 3.0], "variance": [1.0, 4.0, 0.0]}, ((4, 3),), masked=()),
    Case("Normalization", "number", {"mean": 1.0, "variance": 4.0, "invert": True}, masked=(0,)),
    Case("Normalization", "weights", {"axis": [1, 2]}, weights=((5, 6), W((5, 6)), W(()))),
    Case("Normalization", "scalar", {"axis": None}, weights=((), W(()), W(()))),
    Case("Discretization", "", {"bin_boundaries": [-1.0, 0.0, 0.5]}),
    Case("CategoryEncoding", "multi_hot", {"num_tokens": 5}, ((4, 3),), integers=5),
    Case("CategoryEncoding", "count", {"num_tokens": 5, "output_mode": "count"}, ((4, 3),), integers=5),
    Case("CategoryEncoding", "one_hot", {"num_tokens": 5, "output_mode": "one_hot"}, ((4, 1),), integers=5),
    Case(
        "CategoryEncoding", "one_hot-rows", {"num_tokens": 5, "output_mode": "one_hot"}, ((4, 3),), integers=5, eras=K3
    ),
    Case("CategoryEncoding", "single", {"num_tokens": 5}, ((4, 1),), integers=5),
    Case("CategoryEncoding", "floats", {"num_tokens": 5}, ((4, 3),), whole=True),
    *(
        Case(
            "CategoryEncoding", f"{mode}-{note}", {"num_tokens": 5, "output_mode": mode}, (shape,), integers=5, eras=K3
        )
        for mode in ("one_hot", "multi_hot", "count")
        for note, shape in (("axes", (4, 3, 2)), ("axes-single", (4, 3, 1)))
    ),
    *(
        Case("Discretization", mode, {"bin_boundaries": [-1.0, 0.0, 0.5], "output_mode": mode}, ((4, 3),))
        for mode in ("multi_hot", "count")
    ),
    Case("Discretization", "one_hot", {"bin_boundaries": [-1.0, 0.5], "output_mode": "one_hot"}, ((4, 1),)),
    Case("SpectralNormalization", "", {"layer": _WRAPPED}, weights=((6, 3), (1, 3), (3,)), masked=(0,), eras=K3),
]

CORE: tuple[Case, ...] = (
    *_INERT,
    *_DENSE,
    *_EINSUM,
    *_SHAPE,
    *_MERGE,
    *_ACTIVATIONS,
    *_NORMALIZATION,
    *_ATTENTION,
    *_MULTI_HEAD,
    *_PREPROCESSING,
)
