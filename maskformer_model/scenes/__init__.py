"""Draws scenes with known truth and writes them as a data set. Training does not depend on it."""
