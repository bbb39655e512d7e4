"""Tests of `maskformer_model.data`."""
