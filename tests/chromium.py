"""The system's Chromium, headless, as the tests of reports and their pictures use it."""

import os
import shutil
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable():
    """Return the path of a Chromium, the one of ``CHROMIUM`` first; None if there is none."""
    given = os.environ.get("CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browser():
    """Start it; closes it in the end."""
    from playwright.sync_api import sync_playwright

    path = executable()
    assert path, "there is no Chromium: install it (apt-get install chromium), or name it in CHROMIUM"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # containers run as root
        yield started
        started.close()
