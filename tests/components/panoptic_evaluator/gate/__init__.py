"""Tests of `components.panoptic_evaluator.gate`."""
