"""Files of every era against what their own Keras said of its layers when it wrote them."""

import json
from collections import Counter
from pathlib import Path

import pytest

from gateprobe.graph import Namespace, WeightScheme
from gateprobe.readers import read

HERE = Path(__file__).parents[1] / "data" / "legacy"
SHARED = Path(__file__).parents[3] / "shared" / "legacy"


def cases(root):
    for path in sorted(root.rglob("case.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        for entry in case["files"]:
            if not entry["name"].endswith(".json") and "saved_model" not in entry["name"] and case.get("layers"):
                yield pytest.param(path.parent, case, entry, id=f"{path.parent.relative_to(root)}/{entry['name']}")


def paths(model, prefix=""):
    """Yield every layer of a model by its path, and the layers inside wrappers as Keras names their attributes."""
    for layer in model.layers:
        yield f"{prefix}{layer.name}", layer
        if layer.model is not None:
            yield from paths(layer.model, f"{prefix}{layer.name}/")


def arrays(group):
    yield from group.arrays
    for child in group.children.values():
        yield from arrays(child)


def check(folder, case, entry):
    graph = read(folder / entry["name"], architecture=folder / entry["arch"] if entry.get("arch") else None)
    assert graph.origin.era.value[-1] == case["keras_version"][0]
    top = [layer for layer in case["layers"] if not inside_another(layer, case["layers"])]
    if graph.weights.scheme is WeightScheme.LAYER_LISTS:
        check_lists(graph.weights.root.children, top)
    else:
        found = Counter(array.value.shape for array in arrays(graph.weights.root) if array.value.dtype.kind == "f")
        assert found == Counter(tuple(shape) for layer in top for _, shape in layer["weights"])
    if graph.model is not None:
        check_layers(dict(paths(graph.model)), case["layers"])


def inside_another(layer, layers):
    return any(layer["path"].startswith(f"{other['path']}/") for other in layers)


def check_lists(groups, recorded):
    """The lists of a file have the recorded arrays in the recorded order."""
    for layer in recorded:
        if layer["path"] in groups or layer["weights"]:
            found = groups[layer["path"]].arrays
            assert [list(array.value.shape) for array in found] == [shape for _, shape in layer["weights"]]
            for array, (name, _) in zip(found, layer["weights"], strict=True):
                assert array.name.rsplit("/", 1)[1].removesuffix(":0") == name.rsplit("/", 1)[-1].removesuffix(":0")


def check_layers(found, recorded):
    compared = 0
    for layer in recorded:
        if layer["path"] in found:
            compared += 1
            record = found[layer["path"]]
            assert record.class_name == layer["layer_class"]
            for key in ("units", "activation", "recurrent_activation", "return_sequences", "go_backwards", "axis"):
                assert record.config.get(key) == layer["config"].get(key), f"{layer['path']}: {key}"
    layers = [layer for layer in found.values() if layer.namespace is Namespace.LAYER]
    assert compared >= sum(layer.class_name != "InputLayer" for layer in layers)


@pytest.mark.parametrize(("folder", "case", "entry"), list(cases(HERE)))
def test_layers_and_weights_are_those_that_keras_recorded(folder, case, entry):
    check(folder, case, entry)


@pytest.mark.corpus
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded models are not beside the project")
@pytest.mark.parametrize(("folder", "case", "entry"), list(cases(SHARED)) if SHARED.is_dir() else [])
def test_all_recorded_models(folder, case, entry):
    check(folder, case, entry)
