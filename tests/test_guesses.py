"""What one tries, coming from Keras, NumPy, pandas or another program: it works, or the message says what does."""

import copy
import pickle

import numpy as np
import pytest
from click.testing import CliRunner

import gateprobe
from gateprobe import guesses
from gateprobe.cli import _OTHERS, COMMANDS, main
from gateprobe.cli.did_you_mean import _OTHERS as OPTIONS
from gateprobe.errors import nearest

BRACKETS = "sample_models/brackets.keras"
INPUT = "sample_models/brackets.npy"


@pytest.fixture(scope="module")
def model():
    return gateprobe.read(BRACKETS)


@pytest.fixture(scope="module")
def trace(model):
    return model.trace(np.load(INPUT))


@pytest.fixture(scope="module")
def tokens():
    return gateprobe.read("sample_models/tokens.keras").trace(np.load("sample_models/tokens.npy"))


def tried(text, **names):
    """Return what a line says, or what it is refused with."""
    try:
        return eval(text, {"gateprobe": gateprobe, "np": np, **names})
    except Exception as error:  # noqa: BLE001 - every one has a message
        return str(error)


def assert_refused(line, said):
    """Run a command line, which is refused in one line that says something."""
    done = CliRunner().invoke(main, line.split(), prog_name="gateprobe")
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_letters_name_signals_wherever_a_signal_is_named(model, trace):
    part = trace["lstm"]
    for letter, name in {"i": "input_gate", "f": "forget_gate", "g": "candidate", "o": "output_gate"}.items():
        assert part[letter] is part[name] is getattr(part.forward, letter)
        gates = model.weights("lstm").forward
        assert gates[letter] is getattr(gates, letter) is gates[name]
    assert part.c is part.cell_state, "the cell state, never the candidate, as Keras's source has it"
    assert model.trace(np.load(INPUT), pre_activations=True)["lstm"].pre_f.shape == (3, 12, 2)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("trace.lstm", "use trace['lstm']"),
        ("trace.layers", "list(trace)"),
        ("trace.shape", "forget_gate.shape"),
        ("trace.to_csv('a.csv')", "save('trace.csv')"),
        ("trace.df", "to_pandas()"),
        ("trace.plott", "use plot"),
        ("trace['lstm'].shape", "choose a signal, such as .forget_gate.shape"),
        ("trace['lstm'].c_tilde", "did you mean candidate?"),
        ("trace['lstm']['forget']", "did you mean forget_gate?"),
        ("trace['lstm'][:, 0]", "no signal (slice(None, None, None), 0) in this trace of lstm; available: input_gate"),
        ("trace['LSTM']", "did you mean lstm?"),
        ("trace['forget_gate']", "choose a layer first: trace['lstm']['forget_gate']"),
        ("trace['lstm', 'f']", "use trace['lstm']['f']"),
        ("trace['lstm/forward/forget_gate']", "use trace['lstm/forward']['forget_gate']"),
        ("trace[0]", "trace[0:1] is a sample; layers: lstm"),
        ("trace[-1]", "trace[-1:None] is a sample"),
        ("tokens['bidirectional']['backward']", "use .backward"),
        ("tokens.bidirectional", "use trace['bidirectional']"),
        ("model.layers", "recurrent_layers"),
        ("model.get_weights()", "use weights()"),
        ("model.sumary()", "use summary"),
        ("model.weights('lstm').forward['forget']", "did you mean forget_gate?"),
        ("model.trace('sample_models/brackets.npy')", "load it first, such as with numpy.load('sample_models/b"),
        ("model.trace(np.load('sample_models/brackets.npy'), layer='lstm')", "did you mean layers?"),
        ("gateprobe.load_model('m.keras')", "use gateprobe.read('model.keras')"),
        ("gateprobe.raed('m.keras')", "use read"),
    ],
)
def test_what_one_tries_in_python_leads_to_what_does_it(line, said, model, trace, tokens):
    assert said in tried(line, model=model, trace=trace, tokens=tokens)


def test_a_last_sample_by_the_advice_is_the_last(trace):
    assert trace[-1:None].samples.tolist() == [2]


def test_guesses_leave_python_protocols_alone(model, trace):
    for value in (model, trace, trace["lstm"], trace["lstm"].forward):
        assert not hasattr(value, "nothing_like_it")
        assert not hasattr(value, "_ipython_canary_method_should_not_exist_")
        assert type(copy.deepcopy(value)) is type(pickle.loads(pickle.dumps(value))) is type(value)
    assert "nothing" not in trace
    assert 0 not in trace["lstm"].forward
    assert trace.get(0) is None


@pytest.mark.parametrize(
    ("ways", "owner"),
    [(guesses.MODEL, gateprobe.Model), (guesses.TRACE, gateprobe.Trace), (guesses.PACKAGE, gateprobe)],
)
def test_no_guess_hides_an_attribute_or_stands_twice(ways, owner):
    words = " ".join(ways.values()).split()
    assert len(words) == len(set(words))
    assert not [word for word in words if hasattr(owner, word) and word in dir(owner)]


def test_an_explanation_is_shown_in_a_few_lines(model):
    text = repr(model.explain(np.load(INPUT), unit=0, timestep=3))
    assert len(text.splitlines()) == 7
    assert "forget_gate 0.9619 = sigmoid(3.2284)" in text
    assert "cell_state -0.3820, before 0.5591" in text


# the command line


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("model.keras", "the command comes first: gateprobe inspect model.keras."),
        (f"{BRACKETS} weights --order ifgo", f"gateprobe weights {BRACKETS}."),
        ("convert old.h5", "no command 'convert'; did you mean migrate?"),
        ("trace model.keras", "did you mean dump?"),
        (f"inspect {BRACKETS} --layer lstm", "inspect has no option --layer. Try"),
        (f"dump {BRACKETS} {INPUT} --layers lstm", "dump has no option --layers; did you mean --layer?"),
        (f"dump {BRACKETS} {INPUT} --gate f", "did you mean --signal?"),
        (f"dump {BRACKETS} {INPUT} --signal c_tilde", "did you mean candidate?"),
        (f"dump {BRACKETS} {INPUT} --signal hidden", "did you mean hidden_state?"),
        (f"track {BRACKETS} {INPUT} --regex x", "did you mean --match?"),
        (
            f"stats {BRACKETS} {INPUT} --by units",
            "--by units: no such choice; did you mean unit? available: layer, unit",
        ),
        (f"explain {BRACKETS} {INPUT} --format html", "--format html: no such choice; available: text, markdown"),
        (f"migrate {BRACKETS} --output new.keras", "did you mean --write?"),
    ],
)
def test_what_one_tries_on_the_command_line_leads_to_what_does_it(line, said):
    assert_refused(line, said)


def test_what_others_call_commands_and_options_is_none_of_ours():
    assert _OTHERS.keys() == COMMANDS.keys()
    assert not {word for words in _OTHERS.values() for word in words.split()} & COMMANDS.keys()
    there = {
        option for name in COMMANDS for parameter in main.get_command(None, name).params for option in parameter.opts
    }
    assert OPTIONS.keys() <= there


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("LSTM", "lstm"),
        ("forget", "forget_gate"),
        ("cell_states", "cell_state"),
        ("c_tilde", "candidate"),
        ("lstm_2", "lstm"),
        ("candidtae", "candidate"),
        ("fo", None),
        ("", None),
        ("xyzzy", None),
    ],
)
def test_the_nearest_name(wanted, expected):
    there = ["lstm", "forget_gate", "cell_state", "candidate", "gate_a", "gate_b"]
    assert nearest(wanted, there, {"c_tilde": "candidate", "xyzzy": "nowhere"}) == expected


# files in the wrong place


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"compare {BRACKETS} sample_models/brackets_port.csv {INPUT}", f"{INPUT}: fits the model's input, and stands"),
        (
            f"compare sample_models/brackets_port.csv {BRACKETS} {INPUT}",
            f"is no model, and {BRACKETS} is one; give the",
        ),
        (f"dump {BRACKETS} {INPUT} gates.csv", "to write to it, use -o gates.csv"),
        (f"dump {BRACKETS} {INPUT} {INPUT}", "is one file too many: the model takes symbols (samples, timesteps, 3)"),
        (f"dump {BRACKETS} {INPUT} --layer lstm/forward", "use --layer lstm --direction forward"),
    ],
)
def test_a_file_in_the_wrong_place_is_recognised(line, said):
    assert_refused(line, said)


def test_what_a_port_numbers_from_1_is_said_once_for_all_signals(tmp_path, trace):
    signals = ("input_gate", "forget_gate", "candidate", "output_gate", "cell_state", "hidden_state")
    rows = [
        f"{t + 1},{u + 1}," + ",".join(f"{trace['lstm'][name][0, t, u]:.6f}" for name in signals)
        for t in range(12)
        for u in range(2)
    ]
    (tmp_path / "port.csv").write_text("\n".join(["t,unit,i,f,g,o,c,h", *rows]) + "\n", encoding="utf-8")
    done = CliRunner().invoke(main, ["compare", BRACKETS, INPUT, str(tmp_path / "port.csv")], prog_name="gateprobe")
    assert done.exit_code == 0
    listed = f"{', '.join(signals[:-1])} and {signals[-1]}"
    assert sorted(done.stderr.splitlines()) == [
        f"gateprobe: note: {listed} are taken for sample 0",
        f"gateprobe: note: the timesteps of {listed} are numbered from 1",
        f"gateprobe: note: the units of {listed} are numbered from 1",
    ]
