"""Random convolutions, pooling, padding, cropping and upsampling in one to three dimensions."""

from __future__ import annotations

from typing import Any

from .draw import KERAS3, Draw, Flow, Proposal, layer, padded_size
from .recurrent import activation, inert


def _split(draw: Draw, x: Flow) -> tuple[int, bool, tuple[int, ...], int] | None:
    """Return rank, whether channels come first, space and channels; one axis stays channels last."""
    rank = len(x.shape) - 1
    if not 1 <= rank <= 3 or x.kind != "float":
        return None
    first = not x.open and draw.maybe(0.12)
    return (rank, first, x.shape[1:], x.shape[0]) if first else (rank, first, x.shape[:-1], x.shape[-1])


def _joined(space: list[int], channels: int, *, first: bool) -> tuple[int, ...]:
    return (channels, *space) if first else (*space, channels)


def _per_axis(draw: Draw, values: list[int]) -> int | list[int]:
    """Write equal sizes as one number now and then, as users do."""
    return values[0] if len(set(values)) == 1 and draw.maybe(0.5) else values


def _window(draw: Draw, space: tuple[int, ...], paddings: list[str]) -> tuple[dict[str, Any], list[int]] | None:
    kernel = [min(draw.between(1, 3), size) for size in space]
    padding = draw.choice(paddings)
    strides, dilation = [1] * len(space), [1] * len(space)
    if draw.maybe(0.3):
        strides = [draw.between(1, 3)] * len(space)
    elif draw.maybe(0.25):
        dilation = [2] * len(space)
    if len(space) == 3 and any(stride > size for stride, size in zip(strides, kernel, strict=True)):
        return None  # in half precision TensorFlow 2.21 then begins at another place than in float32
    config: dict[str, Any] = {"kernel_size": _per_axis(draw, kernel), "padding": padding}
    config |= {"strides": _per_axis(draw, strides)} if max(strides) > 1 else {}
    config |= {"dilation_rate": _per_axis(draw, dilation)} if max(dilation) > 1 else {}
    sizes = [padded_size(*each, padding) for each in zip(space, kernel, strides, dilation, strict=True)]
    return (config, sizes) if min(sizes) > 0 else None


def _finish(draw: Draw, config: dict[str, Any], *, first: bool) -> dict[str, Any]:
    config |= {"data_format": "channels_first"} if first else {}
    config |= draw.options(activation=(0.3, lambda: activation(draw)), use_bias=(0.2, lambda: False))
    return config | draw.options(trainable=(0.06, lambda: False))


def convolution(draw: Draw, x: Flow) -> Proposal | None:
    parts = _split(draw, x)
    if parts is None:
        return None
    rank, first, space, channels = parts
    kinds = [f"Conv{rank}D"] * 3 + ([f"SeparableConv{rank}D", f"DepthwiseConv{rank}D"] if rank < 3 else [])
    name = draw.choice(kinds)
    window = _window(draw, space, ["valid", "same"] + ["causal"] * (rank == 1 and not first and name == "Conv1D"))
    if window is None or not draw.knows(name):
        return None
    config, sizes = window
    filters = draw.between(1, 4)
    if name.startswith("Depthwise"):
        multiplier = draw.between(1, 2)
        config |= {"depth_multiplier": multiplier}
        filters = channels * multiplier
    else:
        config["filters"] = filters
        config |= {"depth_multiplier": 2} if name.startswith("Separable") and draw.maybe(0.4) else {}
    if name.startswith("Conv") and draw.maybe(0.2):
        groups = draw.choice([n for n in range(1, channels + 1) if channels % n == 0])
        filters = groups * draw.between(1, 2)
        config |= {"groups": groups, "filters": filters}
    extra = {} if name.startswith(("Separable", "Depthwise")) else inert(draw)
    made = layer(name, _finish(draw, config | extra, first=first))
    return Proposal(made, (_joined(sizes, filters, first=first),), x.open)


def transposed(draw: Draw, x: Flow) -> Proposal | None:
    parts = _split(draw, x)
    if parts is None or x.open:
        return None
    rank, first, space, _ = parts
    name = f"Conv{rank}DTranspose"
    if not draw.knows(name):
        return None
    kernel, stride = [draw.between(1, 3) for _ in space], draw.between(1, 3)
    padding = draw.choice(["valid", "same"])
    if padding == "same":
        sizes = [size * stride for size in space]
    else:
        sizes = [size * stride + max(k - stride, 0) for size, k in zip(space, kernel, strict=True)]
    config: dict[str, Any] = {"filters": draw.between(1, 3), "kernel_size": kernel, "padding": padding}
    config |= {"strides": _per_axis(draw, [stride] * rank)} if stride > 1 else {}
    made = layer(name, _finish(draw, config, first=first))
    return Proposal(made, (_joined(sizes, config["filters"], first=first),))


def pooling(draw: Draw, x: Flow) -> Proposal | None:
    parts = _split(draw, x)
    if parts is None:
        return None
    rank, first, space, channels = parts
    name = f"{draw.choice(['Max', 'Average'])}Pooling{rank}D"
    pool = [min(draw.between(1, 3), size) for size in space]
    strides = [draw.between(1, 2) for _ in space] if draw.maybe(0.4) else pool
    padding = draw.choice(["valid", "same"])
    sizes = [padded_size(size, p, s, 1, padding) for size, p, s in zip(space, pool, strides, strict=True)]
    if not draw.knows(name) or min(sizes) < 1:
        return None
    config: dict[str, Any] = {"pool_size": _per_axis(draw, pool), "padding": padding}
    config |= {"strides": _per_axis(draw, strides)} if strides is not pool else {}
    config |= {"data_format": "channels_first"} if first else {}
    return Proposal(layer(name, config), (_joined(sizes, channels, first=first),), x.open)


def global_pooling(draw: Draw, x: Flow) -> Proposal | None:
    parts = _split(draw, x)
    if parts is None:
        return None
    rank, first, _, channels = parts
    name = f"Global{draw.choice(['Max', 'Average', 'Average'])}Pooling{rank}D"
    if not draw.knows(name):
        return None
    keep = draw.maybe(0.2)
    config: dict[str, Any] = {"keepdims": True} if keep else {}
    config |= {"data_format": "channels_first"} if first else {}
    return Proposal(layer(name, config), (_joined([1] * rank, channels, first=first) if keep else (channels,),))


def adaptive_pooling(draw: Draw, x: Flow) -> Proposal | None:
    parts = _split(draw, x)
    if parts is None or draw.family != KERAS3 or x.open:
        return None
    rank, first, space, channels = parts
    name = f"Adaptive{draw.choice(['Max', 'Average'])}Pooling{rank}D"
    if not draw.knows(name):
        return None
    sizes = [draw.between(1, size) for size in space]
    config: dict[str, Any] = {"output_size": _per_axis(draw, sizes)}
    config |= {"data_format": "channels_first"} if first else {}
    return Proposal(layer(name, config), (_joined(sizes, channels, first=first),))


def padding_or_cropping(draw: Draw, x: Flow) -> Proposal | None:
    parts = _split(draw, x)
    if parts is None:
        return None
    rank, first, space, channels = parts
    first = first and rank > 1
    if not first:
        space, channels = x.shape[:-1], x.shape[-1]
    crop = draw.maybe(0.5)
    name = f"{'Cropping' if crop else 'ZeroPadding'}{rank}D"
    if not draw.knows(name):
        return None
    pairs = [[draw.between(0, 2), draw.between(0, 2)] for _ in space]
    sizes = [size + (-1 if crop else 1) * sum(pair) for size, pair in zip(space, pairs, strict=True)]
    if min(sizes) < 1:
        return None
    key = "cropping" if crop else "padding"
    config: dict[str, Any] = {key: pairs[0] if rank == 1 else pairs}
    config |= {"data_format": "channels_first"} if first else {}
    return Proposal(layer(name, config), (_joined(sizes, channels, first=first),), x.open)


def upsampling(draw: Draw, x: Flow) -> Proposal | None:
    parts = _split(draw, x)
    if parts is None:
        return None
    rank, first, space, channels = parts
    first = first and rank > 1
    if not first:
        space, channels = x.shape[:-1], x.shape[-1]
    factors = [draw.between(1, 3)] if rank == 1 else [draw.between(1, 2) for _ in space]
    name = f"UpSampling{rank}D"
    if not draw.knows(name):
        return None
    config: dict[str, Any] = {"size": factors[0] if rank == 1 else factors}
    config |= {"data_format": "channels_first"} if first else {}
    if rank == 2 and not first and draw.maybe(0.3):
        return _resized(draw, x)
    if rank == 2 and draw.maybe(0.4):
        config["interpolation"] = draw.choice(["bilinear", "nearest", "bicubic"])
    sizes = [size * factor for size, factor in zip(space, factors, strict=True)]
    return Proposal(layer(name, config), (_joined(sizes, channels, first=first),), x.open)


def _resized(draw: Draw, x: Flow) -> Proposal | None:
    """Draw a resizing, or a crop that is not larger than its image."""
    name = draw.choice(["Resizing", "Resizing", "CenterCrop"])
    if not draw.knows(name):
        return None
    height, width, channels = x.shape
    sizes = [draw.between(1, size if name == "CenterCrop" else 2 * size) for size in (height, width)]
    config: dict[str, Any] = {"height": sizes[0], "width": sizes[1]}
    if name == "Resizing":
        config |= draw.options(interpolation=(0.5, lambda: draw.choice(["nearest", "bicubic"])))
    return Proposal(layer(name, config), ((*sizes, channels),), x.open)
