"""Labelled arrays, and which of them a user wants."""
