"""How much may be taken: bytes that stored bytes may stand for, memory of a batch, limits of the system."""
