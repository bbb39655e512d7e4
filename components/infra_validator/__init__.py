"""Checks in a separate process that a candidate loads and answers before it is pushed."""
