"""Measurements of training: its input, its steps, and what retraining saves."""
