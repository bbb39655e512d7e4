"""Tests of `maskformer_model.experiments`."""
