"""Tests of `components.panoptic_predictor`."""
