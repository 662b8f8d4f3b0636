"""Every recorded model beside the project agrees with the real Keras: ``pytest -m corpus -s tests/verify``."""

import sys

import pytest
from verify.corpus import CANNOT, SHARED, files, row

pytestmark = [pytest.mark.oracle, pytest.mark.corpus, pytest.mark.filterwarnings("ignore")]
CASES = list(files()) if SHARED.exists() else []


@pytest.mark.parametrize(("name", "path", "architecture"), [pytest.param(*case, id=case[0]) for case in CASES])
def test_every_replayable_file_agrees(in_process, capsys, name, path, architecture):
    found = row(name, path, architecture)
    with capsys.disabled():
        sys.stdout.write(f"\n{found}")
    if found.verdict == "?":
        assert any(name.startswith(start) for start in CANNOT), found
    else:
        assert found.verdict in ("agrees", "-"), found
