"""Tests of `maskformer_model.losses`."""
