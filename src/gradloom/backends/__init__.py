"""How programs run: `numpy` is the reference."""
