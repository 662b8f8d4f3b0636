"""SavedModel folders of Keras 2, read as data."""
