"""Tests of `maskformer_model.scenes`."""
