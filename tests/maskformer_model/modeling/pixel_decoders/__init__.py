"""Tests of `maskformer_model.modeling.pixel_decoders`."""
