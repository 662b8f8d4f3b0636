"""See inside a Keras LSTM: every gate, at every timestep, from the saved file alone."""
