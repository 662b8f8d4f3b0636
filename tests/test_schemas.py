"""What commands write is what docs/schemas says: a field that is new, gone or of another type fails here."""

import json
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import gateprobe
from gateprobe.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
FILES = sorted((ROOT / "docs" / "schemas").glob("*.json"))
SCHEMAS = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
EVERY = Registry().with_resources((name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items())
NAMES = {name.rpartition("-")[0]: name for name in SCHEMAS}

BRACKETS = (SAMPLES / "brackets.keras", SAMPLES / "brackets.npy")
TOKENS = (SAMPLES / "tokens.keras", SAMPLES / "tokens.npy")
GRUS = (SAMPLES / "ways.keras", SAMPLES / "brackets.npy")
DECODER = (SAMPLES / "translate.keras", SAMPLES / "translate_source.npy", SAMPLES / "translate_target.npy")
OLD = (SAMPLES / "keras2.h5", SAMPLES / "keras2.npy")
SYMBOLS = ("--tokens", SAMPLES / "brackets_tokens.txt")

REPORTS = [
    ("inspect", "inspect", BRACKETS[0]),
    ("inspect", "inspect", TOKENS[0]),
    ("inspect", "inspect", OLD[0]),
    ("inspect", "inspect", SAMPLES / "opinions.keras"),
    ("inspect-trace", "inspect", "trace.npz"),
    ("inspect-trace", "inspect", "trace.csv"),
    ("stats", "stats", *BRACKETS),
    ("stats", "stats", *TOKENS, "--by", "timestep", "--quantiles", "0.5,0.999"),
    ("stats", "stats", *GRUS, "--by", "unit"),
    ("track", "track", *BRACKETS, "--with", SAMPLES / "brackets_depth.npy"),
    ("track", "track", *BRACKETS, *SYMBOLS, "--match", "[(]"),
    ("explain", "explain", *BRACKETS, "--unit", "0", *SYMBOLS),
    ("explain", "explain", *TOKENS, "--unit", "0", "--direction", "backward", "--sample", "1", "--timestep", "7"),
    ("explain", "explain", *GRUS, "--unit", "0", "--layer", "reset_after"),
    ("ledger", "explain", *BRACKETS, "--ledger", *SYMBOLS),
    ("ledger", "explain", *DECODER, "--layer", "decoder", "--ledger"),
    ("weights", "weights", GRUS[0]),
    ("compare", "compare", *BRACKETS, SAMPLES / "brackets_port.csv"),
    ("compare", "compare", "trace.npz", "trace.npz"),
    ("study", "golden", *BRACKETS, "--study", "--keep", "0.01"),
    ("migrate", "migrate", *OLD, "--write", "new.keras"),
    ("migrate", "migrate", TOKENS[0]),
]


def check(name, value):
    errors = Draft202012Validator(SCHEMAS[NAMES[name]], registry=EVERY).iter_errors(value)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with a trace of a Bidirectional layer, masked, with what it read beside it."""
    folder = tmp_path_factory.mktemp("reports")
    trace = gateprobe.read(TOKENS[0]).trace(np.load(TOKENS[1]), units=[0, 2], with_input=True, pre_activations=True)
    for suffix in ("npz", "h5", "parquet", "arrow", "csv"):
        trace.save(folder / f"trace.{suffix}")
    return folder


def asked(arguments, folder, monkeypatch):
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(main, [*map(str, arguments), "--json"], prog_name="gateprobe")
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize(("name", "arguments"), [(name, rest) for name, *rest in REPORTS])
def test_a_report_is_as_its_schema_says(name, arguments, workplace, monkeypatch):
    check(name, asked(arguments, workplace, monkeypatch))


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("arguments", [OLD, (*BRACKETS, "--atol", "1e-12", "--rtol", "0")], ids=["agrees", "disagrees"])
def test_a_verification_is_as_its_schema_says(arguments, workplace, monkeypatch, in_process):
    found = asked(("verify", *arguments), workplace, monkeypatch)
    check("verify", found)
    assert (found["first"] is None) == (arguments is OLD)


def test_weights_alone_are_inspected_as_the_schema_says(tmp_path, monkeypatch):
    import h5py

    with h5py.File(OLD[0]) as whole, h5py.File(tmp_path / "weights.h5", "w") as alone:
        for name, value in whole["model_weights"].attrs.items():
            alone.attrs[name] = value
        for layer in whole["model_weights"]:
            whole.copy(f"model_weights/{layer}", alone)
    found = asked(("inspect", tmp_path / "weights.h5"), tmp_path, monkeypatch)
    assert found["groups"]
    check("inspect", found)


@pytest.mark.parametrize("suffix", ["npz", "h5", "parquet", "arrow"])
def test_the_metadata_of_a_trace_is_as_its_schema_says(suffix, workplace):
    metadata = dict(gateprobe.load_trace(workplace / f"trace.{suffix}").metadata)
    check("trace-metadata", metadata)
    assert metadata["options"]["selection"] == {"units": "0,2"}


def test_the_metadata_of_a_dump_is_as_its_schema_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = ("--layer", "lstm", "--signal", "f", "--timestep", "1:3", "--sample", "0", "--dtype", "float64")
    run = ("--batch-size", "2", "--direction", "forward", "--semantics", "keras3", "--pre", "--with-output")
    done = CliRunner().invoke(main, ["dump", *map(str, BRACKETS), *chosen, *run, "-o", "trace.npz"])
    assert done.exit_code == 0, done.output
    with np.load("trace.npz") as arrays:
        check("trace-metadata", json.loads(str(arrays["__metadata__"])))


def test_golden_vectors_are_as_their_schema_says(tmp_path):
    for source, extra in ((BRACKETS, ()), (TOKENS, ("--sample", "1")), (GRUS, ("--layer", "reset_after"))):
        folder = tmp_path / source[0].stem
        done = CliRunner().invoke(main, ["golden", *map(str, source), *extra, "-o", str(folder)])
        assert done.exit_code == 0, done.output
        check("golden", json.loads((folder / "golden.json").read_text()))


# the schemas


def test_every_command_with_a_report_has_a_schema():
    context = click.Context(main)
    asks = {
        name for name in COMMANDS if any(option.name == "as_json" for option in main.get_command(context, name).params)
    }
    assert asks == {name for _, name, *_ in REPORTS} | {"verify"}
    assert {name for name, *_ in REPORTS} | {"verify", "golden", "trace-metadata"} == NAMES.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_schema_lets_nothing_through_and_says_what_things_are(path):
    schema = SCHEMAS[path.name]
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == path.name
    assert path.stem.endswith(f"-{schema['properties']['format']['enum'][0]}")
    assert all("additionalProperties" in one for one in parts(schema) if one.get("type") == "object")
    assert [name for name, one in schema["properties"].items() if not one.get("description")] == []


def parts(schema):
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from parts(value)
