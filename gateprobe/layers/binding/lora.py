"""Layers of Keras 3 with low-rank adapters (LoRA), which HDF5 stores apart from the kernel that they change.

Source: ``enable_lora`` and ``build`` in ``keras/src/layers/core/{dense,embedding,einsum_dense}.py`` and
``keras/src/layers/convolutional/base_conv.py`` 3.15.1. A ``.keras`` file holds the sum (``save_own_variables``), lists
of weights hold the three parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gateprobe.graph import Array, LayerRecord
from gateprobe.layers.binding.registry import Slot
from gateprobe.layers.binding.settings import Unsupported

_ADAPTED = {
    "Dense": "kernel",
    "Embedding": "embeddings",
    "EinsumDense": "kernel",
    "Conv1D": "kernel",
    "Conv2D": "kernel",
    "Conv3D": "kernel",
}
_FORGETFUL = ("Dense", "Embedding")
"""Classes whose ``build`` calls ``enable_lora`` without ``lora_alpha``."""


def adapted_role(record: LayerRecord) -> str | None:
    """Return the weight that low-rank adapters change, or ``None`` when there are none."""
    return _ADAPTED.get(record.class_name) if record.config.get("lora_rank") else None


def with_adapters(record: LayerRecord, slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
    """Return a layer's own weights with its adapters, which are trained instead of what they change."""
    role = adapted_role(record)
    if role is None:
        return slots
    fixed = tuple(replace(slot, trainable=False) if slot.role == role else slot for slot in slots)
    return (*fixed, *(Slot(name, None) for name in _names(role)))


def _names(role: str) -> tuple[str, str]:
    return f"lora_{role}_a", f"lora_{role}_b"


def merged(record: LayerRecord, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return a layer's weights with the adapters added: ``kernel + lora_alpha / lora_rank * (a @ b)``.

    Args:
        record: The layer.
        weights: By role. ``a`` has the kernel's shape but for its last axis, which has ``lora_rank``, and ``b`` is
            ``(lora_rank, size of the kernel's last axis)``.

    Raises:
        Unsupported: The shapes or the scale are not those that Keras writes.
    """
    role = adapted_role(record)
    if role is None:
        return dict(weights)
    rank, alpha = (record.config.get(key) for key in ("lora_rank", "lora_alpha"))
    alpha = rank if alpha is None else alpha
    if type(rank) is not int or isinstance(alpha, bool) or not isinstance(alpha, (int, float)):
        raise Unsupported(f"config.lora_rank and lora_alpha: {rank!r:.30} and {alpha!r:.30} are not understood")
    if alpha != rank and record.class_name in _FORGETFUL:
        raise Unsupported(
            f"config.lora_alpha: Keras forgets it when it opens HDF5 and takes lora_rank ({rank}), not {alpha}; "
            "save the model as .keras"
        )
    kernel, (first, second) = weights[role], (weights[name] for name in _names(role))
    if first.shape != (*kernel.shape[:-1], rank) or second.shape != (rank, kernel.shape[-1]):
        raise Unsupported(f"adapters of shapes {first.shape} and {second.shape} do not fit {role} {kernel.shape}")
    others = {name: value for name, value in weights.items() if name not in _names(role)}
    return {**others, role: kernel + np.asarray(alpha / rank, kernel.dtype) * (first @ second)}
