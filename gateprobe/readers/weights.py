"""Weights, in the two ways in which Keras addresses them.

Lists by layer: ``save_weights_to_hdf5_group`` in ``keras/engine/topology.py`` 1.2.2 and
``keras/src/legacy/saving/legacy_h5_format.py`` 3.15.1. A tree of objects: ``H5IOStore`` and ``_save_state`` in
``keras/src/saving/saving_lib.py`` 3.15.1 and ``tf_keras/src/saving/saving_lib.py`` 2.21.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateprobe.errors import ReadError, UnsafeFile
from gateprobe.graph import WeightArray, WeightGroup, WeightScheme, WeightStore
from gateprobe.readers import hdf5
from gateprobe.readers.hdf5 import Budget

if TYPE_CHECKING:
    import h5py

MAX_DEPTH = 64
MAX_OBJECTS = 1_000_000

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies", "_self_tracked_trackables", "_layers", "_operations")
"""What versions called the list of a model's layers."""
_DOUBLED = "_layer_checkpoint_dependencies"
_NO_WEIGHTS = frozenset({"seed_generator", "_random_generator"})
"""States of random generators: integers that mean nothing at inference."""
TRAINING = frozenset(
    "optimizer optimizer_weights metrics _metrics compiled_metrics compiled_loss _compile_metrics _compile_loss "
    "_loss_tracker loss_tracker".split()
)


def layer_lists(root: h5py.Group, budget: Budget) -> WeightStore:
    """Read a list of arrays for each layer, in the order of ``layer_names`` and ``weight_names``."""
    names = hdf5.name_list(root, "layer_names")
    if names is None:
        raise ReadError("has no attribute layer_names", place=root.name)
    children: dict[str, WeightGroup] = {}
    for name in names:
        if name in children:
            raise ReadError(f"layer_names lists {name!r} twice", place=root.name)
        children[name] = _layer(root, name, budget)
    return WeightStore(WeightScheme.LAYER_LISTS, WeightGroup(children=children))


def _layer(root: h5py.Group, name: str, budget: Budget) -> WeightGroup:
    group = hdf5.group(root, name)
    if group is None:
        raise ReadError(f"layer_names lists {name!r}, and there is no such group", place=root.name)
    weight_names = hdf5.name_list(group, "weight_names")
    if weight_names is None:
        raise ReadError("has no attribute weight_names", place=group.name)
    if len(set(weight_names)) != len(weight_names):
        raise ReadError("weight_names lists one name twice", place=group.name)
    known: dict[str, Any] = {}
    return WeightGroup(arrays=tuple(_listed(group, name, budget, known) for name in weight_names))


def _listed(group: h5py.Group, name: str, budget: Budget, known: dict[str, Any]) -> WeightArray:
    dataset = hdf5.member(group, name, known)
    if not hdf5.is_array(dataset):
        raise ReadError(f"weight_names lists {name!r}, and there is no such array", place=group.name)
    return replace(hdf5.array(dataset, budget), label=name)


@dataclass(slots=True)
class _Object:
    """One object while the tree is being gathered, possibly from several shards."""

    arrays: dict[str, WeightArray] = field(default_factory=dict)
    children: dict[str, _Object] = field(default_factory=dict)
    name: str | None = None

    @property
    def empty(self) -> bool:
        """Whether there is no array in it or below."""
        return not self.arrays and all(child.empty for child in self.children.values())


def object_tree(files: Iterable[h5py.Group], budget: Budget) -> WeightStore:
    """Read the tree of objects of one file, or of all shards of one model."""
    root = _Object()
    for file in files:
        _gather(file, root, budget)
    return WeightStore(WeightScheme.OBJECT_PATHS, _frozen(root, ""))


def tree_of(arrays: Iterable[tuple[list[str], WeightArray]]) -> WeightStore:
    """Make the tree of objects from arrays and the parts of their paths, such as ``layers/lstm/cell/vars/0``."""
    root = _Object()
    for parts, array in arrays:
        *path, last, number = parts
        if last != "vars" or len(path) > MAX_DEPTH:
            raise ReadError("is no path to a numbered array", place=array.name)
        if any(name in _NO_WEIGHTS for name in path) or (path[:1] and path[0] in TRAINING):
            continue
        target = root
        for name in path:
            target = _descend(target, name)
        target.arrays[number] = array
    return WeightStore(WeightScheme.OBJECT_PATHS, _frozen(root, ""))


def _gather(file: h5py.Group, root: _Object, budget: Budget) -> None:
    """Add what a file holds to the tree.

    A group with two names (a hard link) is refused: following each of 64 doubled links would never end.
    """
    seen: set[Any] = set()
    stack: list[tuple[h5py.Group, _Object, int]] = [(file, root, 0)]
    while stack:
        group, target, depth = stack.pop()
        key = _identity(group)
        if key in seen or depth > MAX_DEPTH or len(seen) > MAX_OBJECTS:
            raise UnsafeFile("occurs twice in the file, or too deep in it", place=group.name)
        seen.add(key)
        for name, child in _groups(group, at_root=depth == 0):
            if name == "vars":
                _gather_arrays(child, target, budget)
            else:
                stack.append((child, _descend(target, name), depth + 1 + name.count("\\")))


def _identity(group: h5py.Group) -> Any:
    info = hdf5.library().h5o.get_info(group.id)
    return info.fileno, info.addr


def _groups(group: h5py.Group, *, at_root: bool) -> Iterator[tuple[str, h5py.Group]]:
    for name in hdf5.child_names(group):
        if name in _NO_WEIGHTS or (at_root and name in TRAINING):
            continue
        child = hdf5.group(group, name)
        if child is not None:
            yield name, child


def _descend(target: _Object, name: str) -> _Object:
    """Return the object at a name, which Windows versions of Keras 2.13 wrote as a path with backslashes."""
    for part in name.split("\\"):
        target = target.children.setdefault(part, _Object())
    return target


def _gather_arrays(group: h5py.Group, target: _Object, budget: Budget) -> None:
    if "name" in group.attrs:
        target.name = hdf5.text_attribute(group, "name")
    for name in hdf5.child_names(group):
        dataset = hdf5.member(group, name)
        if not hdf5.is_array(dataset):
            raise ReadError("is a group where an array belongs", place=f"{group.name}/{name}")
        if name in target.arrays:
            raise ReadError("occurs in two shards", place=dataset.name)
        target.arrays[name] = hdf5.array(dataset, budget)


def _frozen(target: _Object, place: str) -> WeightGroup:
    children = {name: _frozen(child, f"{place}/{name}") for name, child in _unified(target, place).items()}
    return WeightGroup(_numbered(target.arrays, place), children, target.name)


def _numbered(arrays: dict[str, WeightArray], place: str) -> tuple[WeightArray, ...]:
    """Return the arrays in numeric order; those with names of their own belong to custom layers and come last."""
    numbers = sorted(int(name) for name in arrays if name.isascii() and name.isdigit() and len(name) < 8)
    if numbers != list(range(len(numbers))):
        raise ReadError(f"the arrays are numbered {numbers[:20]}: one is missing", place=f"{place}/vars")
    counted = [str(number) for number in numbers]
    if any(name not in arrays for name in counted):
        raise ReadError("an array's number has leading zeros", place=f"{place}/vars")
    return tuple(arrays[name] for name in [*counted, *sorted(arrays.keys() - set(counted))])


def _unified(target: _Object, place: str) -> dict[str, _Object]:
    """Call the list of a model's layers ``layers``, whatever the version called it."""
    present = [name for name in _CONTAINERS if name in target.children and not target.children[name].empty]
    if not present or present == ["layers"]:
        return target.children
    merged: dict[str, _Object] = {}
    for name in present:
        children = target.children[name].children
        for key, child in (_recounted(children) if name == _DOUBLED else children).items():
            if key in merged and not (merged[key].empty or child.empty):
                raise ReadError(f"{' and '.join(present)} both hold {key}", place=place or "/")
            if key not in merged or merged[key].empty:
                merged[key] = child
    others = {name: child for name, child in target.children.items() if name not in _CONTAINERS}
    return {"layers": _Object(children=merged), **others}


def _recounted(children: dict[str, _Object]) -> dict[str, _Object]:
    """Number the objects of each class without gaps: ``dense``, ``dense_2``, ``dense_4`` → ``dense_1``, ``dense_2``.

    ``_layer_checkpoint_dependencies`` of Keras 2.12 and 2.13 lists each layer that has weights twice (as ``layer-3``
    and as ``layer_with_weights-1``), and ``_save_container_state`` counted both.
    """
    classes: dict[str, list[tuple[int, str]]] = {}
    for name in children:
        stem, _, number = name.rpartition("_")
        counted = bool(stem) and number.isascii() and number.isdigit()
        classes.setdefault(stem if counted else name, []).append((int(number[:9]) if counted else 0, name))
    return {
        f"{stem}_{count}" if count else stem: children[name]
        for stem, members in classes.items()
        for count, (_, name) in enumerate(sorted(members))
    }
