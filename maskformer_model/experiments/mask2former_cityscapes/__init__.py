"""Mask2Former's published recipes for Cityscapes. One file per experiment."""
