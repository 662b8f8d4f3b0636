"""Traces as xarray trees: what `xarray.open_datatree` makes of the HDF5 file of the same trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from gateprobe.errors import MissingExtra
from gateprobe.graph import Array
from gateprobe.traces.chunk import DirectionTrace, TraceChunk
from gateprobe.writers.arrays import (
    METADATA_KEY,
    Index,
    axis_names,
    context_axes,
    context_key,
    group_key,
    numbers_beside,
)
from gateprobe.writers.base import Metadata

if TYPE_CHECKING:
    import xarray


def tree_of(trace: TraceChunk, metadata: Metadata) -> xarray.DataTree:
    """Return the tree of a whole trace.

    Raises:
        MissingExtra: xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise MissingExtra("xarray", "xarray") from None
    index = Index()
    index.add(trace)
    nodes: dict[str, xarray.Dataset] = {
        "/": xarray.Dataset(attrs={METADATA_KEY: json.dumps({**metadata, "trace": index.described()})})
    }
    for direction in trace.directions:
        path = group_key(direction)
        nodes.setdefault(path.rpartition("/")[0], xarray.Dataset(*_layer(trace.samples, direction)))
        nodes[path] = xarray.Dataset(*_direction(direction))
        for name, value in numbers_beside(direction).items():
            node, _, variable = context_key(direction.layer, name).rpartition("/")
            nodes[node] = nodes.get(node, xarray.Dataset()).assign({variable: (context_axes(value), value)})
    return xarray.DataTree.from_dict(nodes)


def _layer(samples: Array, direction: DirectionTrace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return variables and coordinates of a layer: what both directions have in common."""
    variables = {} if direction.mask is None else {"mask": (("sample", "timestep"), direction.mask)}
    coordinates = {"sample": samples, "timestep": direction.timesteps}
    for value in numbers_beside(direction).values():
        sizes = zip(context_axes(value)[2:], value.shape[2:], strict=True)
        coordinates |= {axis: np.arange(size) for axis, size in sizes}
    return variables, coordinates


def _direction(direction: DirectionTrace) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return variables, coordinates and attributes of a direction."""
    signals, coordinates = {}, {"unit": direction.units, "step": ("timestep", direction.steps)}
    for name, value in direction.signals.items():
        axes = axis_names(value, direction.grid)
        signals[name] = (axes, value)
        coordinates |= {
            axis: np.arange(size) for axis, size in zip(axes[2:], value.shape[2:], strict=True) if axis != "unit"
        }
    return signals, coordinates, {"backwards": direction.backwards, "length": direction.length}
