"""Tests of `maskformer_model.backend`."""
