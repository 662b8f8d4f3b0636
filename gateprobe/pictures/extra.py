"""What draws charts is an extra: the terminal needs none of it."""

from importlib.util import find_spec

from gateprobe.errors import MissingExtra


def require_charts() -> None:
    """Refuse to go on without the libraries that draw charts.

    Raises:
        MissingExtra: One is not installed.
    """
    if not all(map(find_spec, ("altair", "vl_convert"))):
        raise MissingExtra("altair or vl-convert-python", "plot")
