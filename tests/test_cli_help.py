"""The help: groups, sentences, examples that can be copied, documents that exist."""

import runpy
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateprobe.cli import COMMANDS, main
from gateprobe.cli.help import DOCS, GROUPS, name_of

ROOT = Path(__file__).parents[1]


def shown(*arguments, width=80):
    done = CliRunner().invoke(main, arguments, prog_name="gateprobe", terminal_width=width)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def parameters(name):
    command = main.get_command(None, name)
    return command.get_params(click.Context(command, help_option_names=["-h", "--help"]))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_shown_in_exactly_one_group(name):
    grouped = [option for options in GROUPS.values() for option in options]
    assert len(set(grouped)) == len(grouped)
    text = shown(name, "-h")
    for parameter in parameters(name):
        if isinstance(parameter, click.Option):
            assert name_of(parameter) in grouped
            assert f" {parameter.opts[-1]}" in text
            assert parameter.help[0].isupper() and parameter.help.endswith((".", "...")), parameter.name  # noqa: PT018


def test_the_most_used_come_first():
    text = shown("dump", "-h")
    order = ("SOURCE  ", "[INPUT...]  ", "--layer", "--signal", "-o, ", "--format", "--architecture", "--semantics")
    places = [text.index(f"\n  {option}") for option in order]
    assert places == sorted(places)
    assert text.index("--max-bytes") > places[-1]


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_not_broken_over_lines(name, width):
    lines = shown(name, "-h", width=width).splitlines()
    for example in main.get_command(None, name).examples:
        assert f"  {example}" in lines


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_documents_that_exist(name):
    assert f"\nMore: {DOCS[name]}\n" in shown(name, "-h")
    for document in DOCS[name].split(" and "):
        assert (ROOT / document).is_file()


def test_help_is_found_where_it_is_looked_for():
    assert shown() == shown("help") == shown("-h") == shown("--help")
    assert shown("help", "dump") == shown("dump", "-h")


@pytest.fixture(scope="module")
def man_pages():
    return runpy.run_path(ROOT / "docs" / "man_pages.py")["pages"]()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_man_page_has_all_of_the_help(name, man_pages):
    page = man_pages[f"gateprobe-{name}.1"].replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\e", "\\")
    command = main.get_command(None, name)
    for parameter in parameters(name):
        assert parameter.opts[-1] in page or parameter.make_metavar(click.Context(command)) in page
        assert " ".join((getattr(parameter, "help", None) or "").split()) in page
    assert all(f"\n{example}\n" in page for example in command.examples)
    assert f"\\fBgateprobe-{name}\\fR(1)" in man_pages["gateprobe.1"].replace(r"\-", "-")


def test_no_line_of_a_man_page_is_taken_for_a_request(man_pages):
    requests = {"TH", "SH", "TP", "PP", "B", "nf", "fi"}
    for page in man_pages.values():
        begun = [line.split()[0][1:] for line in page.splitlines() if line.startswith((".", "'"))]
        assert set(begun) <= requests
