"""Tests of `maskformer_model.metrics`."""
