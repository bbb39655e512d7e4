"""Tests of `components.panoptic_evaluator.coco_files`."""
