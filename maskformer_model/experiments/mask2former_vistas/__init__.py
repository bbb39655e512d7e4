"""Mask2Former's published recipes for Mapillary Vistas. One file per experiment."""
