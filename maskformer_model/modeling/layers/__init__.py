"""Layers without an architecture: attention, convolution with norm, bilinear resizing."""
