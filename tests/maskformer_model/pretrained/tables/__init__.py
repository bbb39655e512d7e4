"""Tests of `maskformer_model.pretrained.tables`."""
