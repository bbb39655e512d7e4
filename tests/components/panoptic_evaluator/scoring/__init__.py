"""Tests of `components.panoptic_evaluator.scoring`."""
