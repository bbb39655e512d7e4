"""EoMT on Cityscapes."""
