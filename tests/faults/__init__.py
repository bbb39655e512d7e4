"""Faults that real runs of the pipeline are put through; too slow for the tests of every change."""
