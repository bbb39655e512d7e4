"""Pixel decoders: res2 to res5 -> per-pixel embeddings and what the decoder attends to."""
