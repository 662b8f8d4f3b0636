"""Traces read back from files; sizes are compared with what is there before memory is taken."""
