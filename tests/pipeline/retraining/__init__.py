"""Tests of `pipeline.retraining`."""
