"""Nodes of a graph that are functions: ``keras.ops`` and TensorFlow operations."""
