"""What the site has beyond the pages of docs/: those of the root, the files they link to, and the references.

MkDocs calls the functions ``on_...``. Nothing is written into docs/; `pages` is all that is made.
"""

import html
import inspect
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

import gateprobe
from gateprobe.cli import COMMANDS, main
from gateprobe.cli.help import DOCS, SECTIONS, grouped

ROOT = Path(__file__).parents[2]
HOME = "index.md"
ASKS = re.compile(r"""<(?!a\b)[^>]*\s(?:src|href)=["']?(?:https?:)?//[^>]*>""")
"""A tag, other than a link to follow, with an address on the network."""
INLINE = re.compile(r"<pre.*?</pre>|<code>([^<]*)</code>", re.DOTALL)
"""A block of code, or code within a sentence (its text is group 1)."""
WORD = re.compile(r"(?<!\S)(?=\S{0,27}-)\S{2,28}(?!\S)")
"""A short word with a hyphen, at which browsers would break it."""
LINK = re.compile(r"\[([^\]\[]*)\]\((?!https?:|#)([^)#\s]+)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links of the repository into links of the site."""
    made = page.file.src_uri in REFERENCE or page.file.src_uri.startswith("notebooks/")
    return markdown if made else relinked(markdown, origin(page.file.src_uri))


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Keep options such as ``--layer`` in one piece."""
    return INLINE.sub(lambda found: found[0] if found[1] is None else f"<code>{unbroken(found[1])}</code>", content)


def unbroken(code: str) -> str:
    """Mark the words that stay in one piece."""
    return WORD.sub(r'<span class="word">\g<0></span>', code)


def on_post_build(config: Any) -> None:
    """Refuse a site that asks anything of the network."""
    for page in Path(config.site_dir).rglob("*.html"):
        asked = ASKS.search(page.read_text(encoding="utf-8"))
        if asked:
            raise PluginError(f"{page} asks the network: {asked[0]}")


def pages() -> dict[str, str]:
    """Return the pages that are made: path on the site → text."""
    found = {HOME: (ROOT / "README.md").read_text(encoding="utf-8")}
    for name in ("SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        found[name] = (ROOT / name).read_text(encoding="utf-8")
    for path in linked_sources():
        code = (ROOT / path).read_text(encoding="utf-8")
        found[f"source/{path}.md"] = f"# {posixpath.basename(path)}\n\n`{path}`\n\n````python\n{code}````\n"
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        found[f"notebooks/{path.stem}.md"] = "\n\n".join(notebook(path))
    return found | {path: "".join(make()) for path, make in REFERENCE.items()}


def notebook(path: Path) -> Iterator[str]:
    """Make a page of a notebook: its text, its code, and what that showed when it was stored."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        yield text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
        for output in cell.get("outputs", ()):
            shown = output.get("data", {})
            if "image/png" in shown:
                picture = shown["image/png"].strip()
                yield f'<p><img alt="What the cell above draws" src="data:image/png;base64,{picture}"></p>'
            elif "text/html" in shown:
                yield "".join(shown["text/html"])
            else:
                yield f"```text\n{''.join(output.get('text') or shown['text/plain']).rstrip()}\n```"
    yield f"[The notebook]({path.name})"


def linked_sources() -> set[str]:
    """Return the Python files that pages link to."""
    found = set()
    for page in (ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")):
        for _, link in LINK.findall(page.read_text(encoding="utf-8")):
            if link.endswith(".py"):
                found.add((page.parent / link).resolve().relative_to(ROOT).as_posix())
    return found


def origin(path: str) -> str:
    """Return where a page of the site stands in the repository."""
    if path == HOME:
        return "README.md"
    return path if path.startswith("source/") or (ROOT / path).is_file() else f"docs/{path}"


def relinked(text: str, at: str) -> str:
    """Change the links of a page of the repository into those of the site."""
    here = posixpath.dirname(site_path(at))

    def change(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(at), match[2]))
        words = title(target) if match[1].endswith(".md") else match[1]  # on the site, pages have titles and no names
        return f"[{words}]({posixpath.relpath(site_path(target), here or '.')}"

    return LINK.sub(change, text)


def title(path: str) -> str:
    """Return the title of a page of the repository."""
    return (ROOT / path).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def site_path(path: str) -> str:
    """Return the path on the site of a file of the repository."""
    if path == "README.md":
        return HOME
    return f"source/{path}.md" if path.endswith(".py") else path.removeprefix("docs/").replace(".ipynb", ".md")


def commands() -> Iterator[str]:
    """Make the reference of the commands from their help."""
    context = click.Context(main, info_name="gateprobe")
    yield f"# Commands\n\n{main.help}\n\n"
    for title, names in SECTIONS.items():
        yield f"**{title}**\n\n"
        yield from (f"- [`{name}`](#gateprobe-{name}): {COMMANDS[name]}\n" for name in names)
        yield "\n"
    for paragraph in (main.epilog or "").split("\n\n")[:2]:
        yield f"{paragraph}\n\n"
    for name in main.list_commands(context):
        yield from one_command(main.get_command(context, name), context)


def one_command(command: Any, parent: click.Context) -> Iterator[str]:
    """Make the section of a command."""
    context = click.Context(command, info_name=command.name, parent=parent, help_option_names=["-h", "--help"])
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"## gateprobe {command.name}\n\n```sh\n{context.command_path} {usage}\n```\n\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield f"{escaped(paragraph)}\n\n"
    for group, rows in grouped(command, context).items():
        yield f'<p class="group">{group}</p>\n<dl class="options">\n'
        for option, text in rows:
            yield f"<dt><code>{html.escape(option)}</code></dt><dd>{html.escape(text)}</dd>\n"
        yield "</dl>\n\n"
    yield "Examples:\n\n```sh\n{}\n```\n\n".format("\n".join(command.examples))
    documents = (document.removeprefix("docs/") for document in DOCS[command.name].split(" and "))
    yield "More: {}\n\n".format(" and ".join(f"[{title(f'docs/{document}')}](../{document})" for document in documents))


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return re.sub(r"([\\`*_<>\[\]])", r"\\\1", text.replace("\b\n", ""))


def python() -> Iterator[str]:
    """Make the reference of the public names, each in the words of its docstring."""
    yield "# Python\n\n`import gateprobe` gives these names, and they alone are a promise.\n\n"
    public = {name: getattr(gateprobe, name) for name in gateprobe.__all__ if not name.startswith("_")}
    kinds = {"Functions": [], "Classes": [], "Errors and warnings": []}
    for name, value in public.items():
        kinds[kind_of(value)].append(name)
    for title, names in kinds.items():
        yield f"## {title}\n\n"
        yield from (f"::: gateprobe.{name}\n\n" for name in names)


def kind_of(value: Any) -> str:
    """Return the section in which a public name stands."""
    if not inspect.isclass(value):
        return "Functions"
    return "Errors and warnings" if issubclass(value, Exception) else "Classes"


REFERENCE = {"reference/commands.md": commands, "reference/python.md": python}
"""Path on the site → what makes the page."""
