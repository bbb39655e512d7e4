"""The scores of predictions against truth: panoptic quality, mIoU, average precision. NumPy only; no network."""
