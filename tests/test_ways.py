"""Ways on from a refusal: what is advised names the layers, and it works."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import chain, lstm_weights
from test_stated import NESTED
from verify.stand_in import pretend_that_keras_is_installed

import gateprobe
from gateprobe.cli import main

DATA = Path(__file__).parent / "data" / "ways"
CODE = "code of the user's own, which gateprobe never runs"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder to work in, with the input of the model with Lambdas."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", recorded("lambdas/x"))
    np.save("x 3.npy", recorded("custom/x"))
    return tmp_path


def recorded(key):
    with np.load(DATA / "recorded.npz") as arrays:
        return arrays[key]


def refused(*arguments):
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    lines = done.stderr.splitlines()
    assert len(lines) in (1, 5)  # more than three reasons get a line each
    return " ".join(lines)


def followed(line):
    """Make the files that a refusal asks for, in the shapes that it says, and run its command."""
    command = re.search(r"run: gateprobe (.*?), where", line)[1]
    for name, shape in re.findall(r"(\w+\.npy) holds what \S+ reads, \((.*?)\)", line):
        sizes = {"samples": 5, "timesteps": 6, "...": 6, "any": 2}
        np.save(name, np.ones([sizes.get(axis) or int(axis) for axis in shape.split(", ")], np.float32))
    done = CliRunner().invoke(main, shlex.split(command))
    assert done.exit_code == 0, done.stderr
    return shlex.split(command), done


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_what_is_advised_is_the_users_own_command_and_works(folder, suffix):
    file = DATA / f"lambdas.{suffix}"
    line = refused("dump", file, "x.npy", "-o", "gates.npz", "--batch-size", "2")
    assert f"expand (Lambda): is {CODE}; it lies before one, two" in line
    assert f"double (Lambda): is {CODE}; it lies before two and behind one" in line
    command, _ = followed(line)
    feeds = ["--feed", "one=one_input.npy", "--feed", "two=two_input.npy"]
    assert command == ["dump", str(file), "-o", "gates.npz", "--batch-size", "2", *feeds]
    assert gateprobe.load_trace("gates.npz")["two"].backward.forget_gate.shape == (5, 6, 3)
    command, _ = followed(refused("predict", file, "x.npy"))
    assert command == ["predict", str(file), "--feed", "two=two_input.npy"]
    command, _ = followed(refused("stats", file, "x.npy", "--layer", "two"))
    assert command == ["stats", str(file), "--layer", "two", "--feed", "two=two_input.npy"]


def test_custom_classes_before_and_behind(folder):
    line = refused("dump", DATA / "custom.h5", "x 3.npy")
    assert f"scale (mine>Scale): is {CODE}; it lies before one; run: gateprobe dump" in line
    assert "tail" not in line  # nothing that is traced needs it
    assert "or state what scale does in a wiring file, with --architecture (docs/wiring.md)" in line
    followed(line)
    line = refused("predict", DATA / "custom.keras", "x 3.npy")
    assert f"tail (Scale): is {CODE}; it lies behind one" in line
    assert "for the traces alone, run: gateprobe dump" in line
    followed(line)


def test_code_inside_a_recurrent_layer_and_inside_nested_models(folder):
    line = refused("dump", DATA / "nested.keras", "x 3.npy")
    assert f"own/cell (Cell): is {CODE}; it is part of the recurrent layer own" in line
    assert f"outer/plus (Lambda): is {CODE}; it lies before outer/in and behind own" in line
    assert f"timed/layer (Lambda): is {CODE}; it lies before outer/in and behind own" in line
    stated = {path: layer for path, layer in NESTED.items() if path != "own/cell"}
    wiring = {"gateprobe_wiring": 1, "replace": stated}
    Path("replace.json").write_text(json.dumps(wiring))
    given = ["dump", DATA / "nested.keras", "x 3.npy", "-o", "g.npz", "--layer", "*", "--architecture", "replace.json"]
    line = refused(*given)
    np.save("outer_in_input.npy", np.ones((5, 6, 4), np.float32))
    command, _ = followed(line)
    assert command[2:] == [
        *("x 3.npy", "-o", "g.npz", "--architecture", "replace.json", "--feed", "outer/in=outer_in_input.npy"),
        *("--layer", "wrapped,outer/in"),
    ]


def test_a_function_of_text_is_said_in_the_same_words(folder):
    line = refused("dump", DATA / "texts.keras", "--text", "a b", "-o", "g.npz")
    assert f"words (TextVectorization): config.standardize: 'mine>clean' is {CODE}; it lies before one" in line
    assert "(one.mask takes its mask, if one reaches it)" in line
    command, _ = followed(line)
    assert "--text" not in command


def test_verify_and_inspect_say_how_to_trace(folder, monkeypatch):
    pretend_that_keras_is_installed(monkeypatch)
    line = refused("verify", DATA / "custom.keras", "--semantics", "keras3")
    command, _ = followed(line)
    assert command[:3] == ["dump", str(DATA / "custom.keras"), "--semantics"]
    shown = CliRunner().invoke(main, ["inspect", str(DATA / "custom.keras")]).stdout
    followed(shown.replace("\n", " "))


def test_the_same_in_the_words_of_python():
    model = gateprobe.read(DATA / "lambdas.keras")
    with pytest.raises(gateprobe.UnsupportedModel) as caught:
        model.trace(recorded("lambdas/x"))
    text = str(caught.value)
    assert "give feeds={'one': one_input, 'two': two_input}, where one_input holds what one reads, (samples, t" in text
    assert "state what expand and double do in a wiring file, as architecture (docs/wiring.md)" in text
    assert "--" not in text
    feeds = {"one": np.ones((2, 6, 1), np.float32), "two": np.ones((2, 6, 4), np.float32)}
    assert model.trace(feeds=feeds)["two"].backward.forget_gate.shape == (2, 6, 3)


def test_an_activation_of_the_users_own_says_so_too():
    model = chain(
        [("Dense", "dense", {"units": 3, "activation": "wiggle"}), ("LSTM", "lstm", {"units": 2})],
        {"dense": [np.ones((3, 3)), np.ones(3)], "lstm": lstm_weights(np.random.default_rng(0), 3, 2)},
    )
    with pytest.raises(gateprobe.UnsupportedModel) as caught:
        model.trace(np.ones((1, 4, 3), np.float32))
    text = str(caught.value)
    assert f"dense (Dense): config.activation: 'wiggle' is no activation of keras3 but {CODE}; it lies before" in text
    assert "lstm_input holds what lstm reads, (samples, timesteps, 3)" in text


def test_layers_of_weights_alone_are_chosen(folder):
    text = "the model is of the class"
    weights = Path(__file__).parent / "data" / "wired" / "model.h5"
    shown = CliRunner().invoke(main, ["inspect", str(weights)]).stdout
    assert text in " ".join(shown.split())
    assumed = ["--activation", "tanh", "--recurrent-activation", "sigmoid"]
    groups = gateprobe.read(weights).recurrent_layers
    features = gateprobe.read(weights).assuming(activation="tanh", recurrent_activation="sigmoid").inputs[0].shape[-1]
    np.save("first.npy", np.ones((2, 5, features), np.float32))
    line = refused("dump", weights, "first.npy", *assumed)
    assert "or trace what you gave an input for; run: gateprobe dump" in line
    command = shlex.split(line.partition("run: gateprobe ")[2])
    assert command == ["dump", str(weights), "first.npy", *assumed, "--layer", groups[0]]
    assert CliRunner().invoke(main, command).exit_code == 0
