"""An old model in today's Keras: a clean Keras 3 file that computes what the old model computed."""
