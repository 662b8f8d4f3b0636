"""TSV: like CSV, with tabs."""

from __future__ import annotations

from gateprobe.writers.formats.csv import Csv


class Tsv(Csv):
    """Tab-separated values."""

    name = "tsv"
    title = "tab-separated values"
    suffixes = (".tsv",)
    separator = "\t"


FORMAT = Tsv()
