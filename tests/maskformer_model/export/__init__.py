"""Tests of `maskformer_model.export`."""
