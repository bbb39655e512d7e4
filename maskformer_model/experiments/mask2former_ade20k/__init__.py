"""Mask2Former's published recipes for ADE20K. One file per experiment."""
