"""What becomes of masks where tensors are merged, or pass a layer that dropped them.

Keras 3.4 and later keeps a timestep of merged tensors that any of them keeps, and merges there those that keep it
(``Merge.compute_mask`` and ``_apply_merge_op_and_or_mask`` in ``keras/src/layers/merging/base_merge.py`` 3.15.1);
earlier ones keep what all of them keep, and merge all. And it lets masks pass ``Identity``, ``Rescaling`` and
``Normalization``, which dropped them before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gateprobe.graph import Call, LayerRecord, ModelRecord, TensorRef, references
from gateprobe.layers.binding.settings import Unsupported
from gateprobe.migration.graphs import free, masking, operation, rewired
from gateprobe.migration.masks import DROP, Search
from gateprobe.semantics import MergedMask, Semantics

_MERGES = frozenset("Add Average Concatenate Maximum Minimum Multiply Subtract".split())


def remasked(model: ModelRecord, semantics: Semantics, *, nested: bool) -> ModelRecord:
    """Give what layers merge the mask that it had, and take it from what had none.

    Where a mask cannot be followed, nothing is changed: the comparison of both models decides.
    """
    search = Search(model, nested=nested)
    layers: list[LayerRecord] = []
    refs: dict[TensorRef, TensorRef] = {}
    added: set[str] = set()
    taken = {one.name for one in model.layers}
    for record in model.layers:
        made: list[LayerRecord] = []
        before: list[LayerRecord] = []
        if record.class_name in DROP and not semantics.identity_keeps_mask:
            made = list(_dropped(record, search, taken))
        elif record.class_name in _MERGES and semantics.merged_mask is MergedMask.ALL:
            made = list(_merged(record, search, taken))
            if made:
                plain, record = _without_masks(record, taken)  # noqa: PLW2901 - it takes its own place
                before.append(plain)
        new = [*search.fresh(), *before, record, *made]
        layers += new
        taken |= {one.name for one in new}
        if made:
            numbers = range(len(record.calls))
            refs |= {TensorRef(record.name, number): TensorRef(made[-1].name, number) for number in numbers}
            added |= {one.name for one in made}
    return rewired(replace(model, layers=tuple(layers)), refs, added)


def _dropped(record: LayerRecord, search: Search, taken: set[str]) -> Iterator[LayerRecord]:
    """Yield a copy, which has no mask."""
    if any(_may_have_mask(search, ref) for call in record.calls for ref in references(call.args)):
        copies = [(TensorRef(record.name, number),) for number in range(len(record.calls))]
        yield operation("Copy", free(f"{record.name}_unmasked", taken), {}, *copies)


def _without_masks(record: LayerRecord, taken: set[str]) -> tuple[LayerRecord, LayerRecord]:
    """Return copies of what a layer reads, which have no masks, and the layer that reads them."""
    name = free(f"{record.name}_unmasked", taken)
    read = [ref for call in record.calls for ref in references(call.args)]
    copies = iter([TensorRef(name, number) for number in range(len(read))])
    calls = tuple(Call((tuple(next(copies) for _ in references(call.args)),), call.kwargs) for call in record.calls)
    return operation("Copy", name, {}, *[(ref,) for ref in read]), replace(record, calls=calls)


def _may_have_mask(search: Search, ref: TensorRef) -> bool:
    try:
        return search.mask_of(ref) is not None
    except Unsupported:
        return True


def _merged(record: LayerRecord, search: Search, taken: set[str]) -> Iterator[LayerRecord]:
    """Yield what keeps the timesteps that all tensors keep, in every call."""
    if record.class_name == "Concatenate" and record.config.get("axis", -1) not in (-1, 2):
        return
    try:
        calls = [[search.mask_of(ref) for ref in references(call.args)] for call in record.calls]
    except Unsupported:
        return
    if not calls or any(all(mask is None for mask in masks) for masks in calls):
        return
    if all(len(set(masks)) == 1 for masks in calls):  # all tensors have the same one, in each call
        return
    kept: list[tuple[TensorRef, TensorRef]] = []
    for number, masks in enumerate(calls):
        first, *others = dict.fromkeys(mask for mask in masks if mask is not None)
        for n, other in enumerate(others):
            name = free(f"{record.name}_mask_{number}_{n}" if number or n else f"{record.name}_mask", taken)
            yield operation("LogicalAnd", name, {}, (first, other))
            first = TensorRef(name)
        kept.append((TensorRef(record.name, number), first))
    yield masking(free(f"{record.name}_masked", taken), *kept)
