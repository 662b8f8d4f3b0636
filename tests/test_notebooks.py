"""The notebooks run from top to bottom and print what they show; their pictures are drawn again."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from test_docs import matches

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def printed(notebook):
    """Return what each cell of code prints, and which kinds of results it shows."""
    cells = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    texts = ["".join(one.text for one in outputs if one.output_type == "stream") for outputs in cells]
    return texts, [[sorted(one.data) for one in outputs if "data" in one] for outputs in cells]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_computes(path):
    notebook = nbformat.read(path, 4)
    texts, results = printed(notebook)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": path.parent}})
    client.execute()
    texts_now, results_now = printed(notebook)
    assert results_now == results
    for shown, now in zip(texts, texts_now, strict=True):
        assert matches(shown.splitlines(), now.splitlines()), now


def test_there_is_one_for_each_reader():
    assert [path.stem for path in NOTEBOOKS] == ["porter", "researcher", "student"]
    for path in NOTEBOOKS:
        _, results = printed(nbformat.read(path, 4))
        assert (path.stem == "porter") != any("image/png" in kinds for cell in results for kinds in cell)
