"""Reads weights that others published, or an earlier run left, into this model. Writes no training state."""
