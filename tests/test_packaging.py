"""What the package says of itself; `nox` builds and installs it."""

import re
import tomllib
from pathlib import Path

import installed

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HATCH = PROJECT["tool"]["hatch"]
REPOSITORY = PROJECT["project"]["urls"]["Source"]


def numbers(version):
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def test_a_clone_without_tags_has_the_version_that_comes_next():
    fallback = HATCH["version"]["fallback-version"]
    assert fallback == HATCH["version"]["raw-options"]["fallback_version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+\.dev0", fallback)
    headings = re.findall(r"^## ([\d.]+)(.*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    coming = [version for version, rest in headings if rest == " (unreleased)"]
    assert coming in ([], [fallback.removesuffix(".dev0")])
    assert numbers(fallback) > max(numbers(version) for version, _ in headings if version not in coming)


def test_links_of_the_page_on_pypi_are_absolute():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for rule in HATCH["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert f"{REPOSITORY}/blob/v$HFPR_VERSION/docs/plot.md" in links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    raw = REPOSITORY.replace("github.com", "raw.githubusercontent.com")
    assert pictures
    assert all(link.startswith(f"{raw}/v$HFPR_VERSION/docs/") for link in pictures)


def test_all_addresses_are_those_of_one_repository():
    assert all(url.startswith(REPOSITORY) for url in PROJECT["project"]["urls"].values())
    assert f"repository-code: {REPOSITORY}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_every_extra_is_tried_alone():
    assert {"", *PROJECT["project"]["optional-dependencies"]} - {"dev", "docs"} == installed.EXTRAS.keys()
