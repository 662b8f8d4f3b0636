"""How a record of a file becomes a layer that replays: registry, settings, weights, order of calls."""
