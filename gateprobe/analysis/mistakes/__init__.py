"""Known mistakes in ports of recurrent layers: one list, for `compare` and for `verify`, and the search in it."""
