"""Tests of `maskformer_model.modeling.decoders`."""
