"""Turns logits into segments, inside the network's graph. No files; writing answers is in `prediction`."""
