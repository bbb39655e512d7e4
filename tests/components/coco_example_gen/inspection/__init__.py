"""Tests of `components.coco_example_gen.inspection`."""
