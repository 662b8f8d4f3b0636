"""Golden vectors for a port: weights, inputs and every intermediate of recurrent layers, as C, JSON and NPZ."""
