"""Tests of `maskformer_model.modeling.backbones`."""
