"""Step the real Keras beside the replay and compare every gate.

``compare`` is pure NumPy; ``oracle`` and its parts run in a process of their own and are the only place in gateprobe
that imports Keras. The function to call is `gateprobe.verify.verify.verify`, exported as ``gateprobe.verify``.
"""
