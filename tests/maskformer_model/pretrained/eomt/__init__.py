"""Tests of `maskformer_model.pretrained.eomt`."""
