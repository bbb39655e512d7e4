"""Serving versions: pushing, the pointer to the last pushed model, and what is kept."""
