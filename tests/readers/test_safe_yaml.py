"""Architectures as YAML: what Keras wrote, against its JSON of the same model; and what no architecture may hold."""

import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_places import run

import gateprobe
from gateprobe.errors import GateprobeError, MissingExtra, ReadError, UnsafeFile
from gateprobe.readers import safe_yaml


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return the folder of ``data/generate/architectures.py``."""
    folder = tmp_path_factory.mktemp("architectures")
    with tarfile.open(Path(__file__).parents[1] / "data" / "architectures.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("name", ["1.2.2/chain", "1.2.2/graph", "2.2.4/chain", "2.2.4/graph"])
def test_what_keras_wrote_is_its_json_and_computes_its_numbers(name, recorded):
    path = recorded / name
    value = safe_yaml.loads(path.with_name(path.name + ".yaml").read_bytes(), "the architecture")
    assert value == json.loads(path.with_name(path.name + ".json").read_bytes())
    model = gateprobe.read(f"{path}.h5", architecture=f"{path}.yaml")
    with np.load(f"{path}.npz") as arrays:
        inputs = [arrays[key] for key in sorted(arrays) if key != "y"]
        np.testing.assert_allclose(next(iter(model.predict(inputs).values())), arrays["y"], rtol=0, atol=1e-6)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN, st.booleans())
def test_what_pyyaml_writes_comes_back(value, flow):
    data = yaml.dump([value, value], default_flow_style=flow).encode()
    assert safe_yaml.loads(data, "x") == [value, value]  # twice: the second is an alias


def test_python_2_wrote_texts_and_long_integers_with_tags():
    data = b"a: !!python/unicode 'x'\nb: !!python/long 3\nc: !!python/tuple [1, null]\n1: {}\n"
    assert safe_yaml.loads(data, "x") == {"a": "x", "b": 3, "c": [1, None], "1": {}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system ['true']", "the tag !!python/object/apply:os.system, which is none of a"),
        ("a: !!python/name:os.system ''", "the tag !!python/name:os.system"),
        ("a: !mine {}", "the tag !mine"),
        ("a: !!binary aGk=", "the tag !!binary"),
        ("a: !!set {x}", "the tag !!set"),
        ("a: 2001-01-01", "the tag !!timestamp"),
        ("<<: {a: 1}", "the tag !!merge"),
        ("a: 1\na: 2", "the key 'a' occurs twice"),
        ("1: 1\n'1': 2", "the key '1' occurs twice"),
        ("[a]: 1", r"has the key \['a'\], which is no text"),
        ("true: 1", "has the key True"),
        ("a: .nan", "no number that an architecture may hold"),
        ("a: .inf", "no number"),
        ("a: 1.0e+999", "out of range"),
        ("a: 0x10", "no decimal integer"),
        ("a: 1:30", "no decimal integer"),
        ("a: 017", "no decimal integer"),
        ("a: " + "9" * 30, "no decimal integer"),
        ("a: *b", "stands for nothing"),
        ("a: &b [*b]", "stands for nothing, or for itself"),
        ("a: 1\n---\nb: 2", "holds 2 documents"),
        ("", "holds 0 documents"),
        ("a: [", "is not YAML"),
        ("a: \x01", "is not YAML"),
    ],
)
def test_what_keras_does_not_write_is_refused(text, message):
    with pytest.raises(ReadError, match=message) as caught:
        safe_yaml.loads(text.encode(), "the architecture")
    assert "\n" not in str(caught.value)


def bomb(levels, width=10):
    lines = ["a0: &a0 [x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * width)}]" for k in range(1, levels)]
    return "\n".join(lines).encode()


def test_aliases_do_not_expand_without_bounds():
    assert safe_yaml.loads(bomb(4), "x")["a3"][9][9][9] == ["x"]
    with pytest.raises(UnsafeFile, match="stands for more than 1,000,000 values"):
        safe_yaml.loads(bomb(9), "x")
    with pytest.raises(UnsafeFile, match="nested more than 200 deep"):  # each level is short, and all together are deep
        safe_yaml.loads(bomb(300, 1), "x")
    with pytest.raises(UnsafeFile, match="nested more than 200 deep"):
        safe_yaml.loads(b"[" * 100_000, "x")
    with pytest.raises(UnsafeFile, match="bytes of YAML"):
        safe_yaml.loads(b"#" * (safe_yaml.MAX_BYTES + 1), "x")


@given(st.text("a:&*!- []{}\n'\"1#|>%?,<", max_size=60))
def test_other_texts_give_an_error_or_plain_values(text):
    try:
        value = safe_yaml.loads(text.encode(), "x")
    except GateprobeError:
        return
    json.dumps(value, allow_nan=False)


def test_without_pyyaml_one_line_says_how_to_install_it(recorded, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtra, match=r"PyYAML.*pip install 'gateprobe\[yaml\]'"):
        gateprobe.read(recorded / "2.2.4/chain.h5", architecture=recorded / "2.2.4/chain.yaml")
    (recorded / "other.txt").write_text("hello: world")  # no YAML of Keras
    with pytest.raises(ReadError, match="is not JSON"):
        gateprobe.read(recorded / "2.2.4/chain.h5", architecture=recorded / "other.txt")


def test_yaml_in_the_place_of_the_model_is_named(recorded):
    done = run("inspect", str(recorded / "2.2.4/chain.yaml"))
    assert done.exit_code == 2
    assert "is YAML and no model with weights; this is an architecture: give the weights file and" in done.stderr
