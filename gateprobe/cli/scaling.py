"""Who computes the parts of a folder: ``--workers``, ``--scheduler`` and ``--block-size``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from gateprobe.cli.options import Assumed, ModelFile, Run, bundle
from gateprobe.errors import InputError

if TYPE_CHECKING:
    from gateprobe.scale.dask_workers import DaskWorkers
    from gateprobe.scale.dataset import Destination
    from gateprobe.traces.selection import Selection


@dataclass(frozen=True, slots=True)
class Scaling:
    """How the work on a folder is divided."""

    workers: int | None
    scheduler: str | None
    block_size: int | None

    def refuse_without(self, folder: Destination | None) -> None:
        """Refuse what divides the work on a folder where there is none.

        Raises:
            InputError: It is given.
        """
        given = {"--workers": self.workers, "--scheduler": self.scheduler, "--block-size": self.block_size}
        chosen = [option for option, value in given.items() if value is not None]
        if chosen and folder is None:
            raise InputError(f"{chosen[0]} goes with a folder", remedy="use -o traces/ or -o traces.zarr")

    def dask_workers(
        self, folder: Destination | None, file: ModelFile, run: Run, assumed: Assumed, selection: Selection
    ) -> DaskWorkers | None:
        """Return who computes; ``None`` for this process alone.

        Raises:
            InputError: There is no folder to fill, or two clusters were asked for.
        """
        self.refuse_without(folder)
        if self.workers is not None and self.scheduler is not None:
            raise InputError("--workers starts processes here; --scheduler has its own", remedy="give one of them")
        if self.workers is None and self.scheduler is None:
            return None
        from gateprobe.scale.dask_workers import DaskWorkers
        from gateprobe.scale.task import Sources

        sources = Sources(
            file.model,
            run.inputs,
            run.feed,
            **file.how,
            assumptions=assumed.given,
            layers=selection.layers,
            texts=run.text,
            vocab=run.vocab,
            pad=run.pad,
        )
        return DaskWorkers(sources, self.scheduler, self.workers or 0)


scaling = bundle(
    "scaling",
    Scaling,
    click.option(
        "--workers", type=click.IntRange(1), metavar="N", help="Fill a folder with N processes on this machine."
    ),
    click.option("--scheduler", metavar="ADDRESS", help="Fill a folder with the workers of this dask scheduler."),
    click.option("--block-size", type=click.IntRange(1), metavar="N", help="Put N samples into each part of a folder."),
)
"""Adds --workers, --scheduler and --block-size; the command takes ``scaling``."""
