"""Tests of `maskformer_model.serve.kserve`."""
