"""Backbones: image -> features res2 to res5. A file is a family."""
