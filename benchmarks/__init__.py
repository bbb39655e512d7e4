"""Measurements against named peers, one module per subject; `make bench` runs them and prints one table."""
