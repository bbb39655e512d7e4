"""Writes a trained network as a SavedModel with signatures and assets, and finds exported versions."""
