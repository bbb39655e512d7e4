"""Tests of `maskformer_model`."""
