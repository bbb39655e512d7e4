"""Tests of maskformer_model.checkpoints."""
