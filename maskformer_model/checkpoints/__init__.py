"""Reads weights that others published into this model. Import the modules by name."""
