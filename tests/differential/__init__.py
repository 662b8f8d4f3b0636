"""Differential tests: random models in the real Keras against their replay from the saved file."""
