"""The page of a trace: one HTML file that asks nothing of the network."""
