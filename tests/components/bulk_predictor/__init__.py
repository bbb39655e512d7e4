"""Tests of `components.bulk_predictor`."""
