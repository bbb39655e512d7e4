"""Tests of `maskformer_model.training.trackers`."""
