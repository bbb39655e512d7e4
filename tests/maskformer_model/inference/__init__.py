"""Tests of `maskformer_model.inference`."""
