"""Which kind of folder a name means."""

from __future__ import annotations

from gateprobe.scale.dataset import Dataset, Destination
from gateprobe.scale.parts import PartsFolder


def open_dataset(destination: Destination) -> Dataset:
    """Return the folder, which need not be there yet.

    Raises:
        MissingExtra: It is a Zarr store, and zarr is not installed.
    """
    if destination.is_zarr:
        from gateprobe.scale.zarr_store import ZarrStore  # noqa: PLC0415 - an import of 0.3 s

        return ZarrStore(destination)
    return PartsFolder(destination)
