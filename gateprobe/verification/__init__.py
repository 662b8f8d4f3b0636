"""Steps the real Keras beside the replay and compares every gate: `gateprobe.verify`.

``compare`` is pure NumPy; ``oracle`` and its parts run in a process of their own and are the only place in gateprobe
that imports Keras.
"""
