"""Mutation tests: one change of the code at a time, which some test must notice."""
