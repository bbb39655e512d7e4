"""Decoders: queries and memory -> class and mask predictions, layer by layer."""
