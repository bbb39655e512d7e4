"""Mask2Former's published recipes for COCO, panoptic and instance. One file per experiment."""
