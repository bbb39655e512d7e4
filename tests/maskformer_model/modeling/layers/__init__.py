"""Tests of `maskformer_model.modeling.layers`."""
