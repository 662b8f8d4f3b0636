"""Fast forms of the arithmetic that costs most: the layers say what is computed, these how."""
