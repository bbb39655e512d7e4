"""Tests of `maskformer_model.config`."""
