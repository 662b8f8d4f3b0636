"""Traces in folders: blocks of samples that any number of processes compute, on one machine or on many.

A folder holds a Parquet file for each block (``traces/``), or is a Zarr store in which each block is a region
(``traces.zarr``). The blocks are those of one run, with its batches and its kernel, so that together they hold the
numbers that one file would hold. What is finished stays; a second run computes what is missing.

`dump_folder` decides everything; a task computes a block, anywhere; this process performs the tasks, or
`DaskWorkers` do.
"""
