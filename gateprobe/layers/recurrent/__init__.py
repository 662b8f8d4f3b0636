"""The heart: recurrent layers, their cells, and the loop over timesteps."""
