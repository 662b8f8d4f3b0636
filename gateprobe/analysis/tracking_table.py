"""The table of the units that follow a signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from gateprobe.analysis.tracking import Follower

_TYPES = {"str": pl.String, "int": pl.Int64, "float": pl.Float64}


def table(followers: Sequence[Follower]) -> pl.DataFrame:
    """Return a row for each, in their order.

    Args:
        followers: At least one.
    """
    schema = {field.name: _TYPES[str(field.type)] for field in fields(followers[0])}
    rows = [[getattr(one, name) for name in schema] for one in followers]
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col(pl.Float64).fill_nan(None))
