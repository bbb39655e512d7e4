"""Prediction, panoptic quality, gate and report. Import the modules by name."""
