"""Tests of `maskformer_model.prediction`."""
