"""The evaluation of predictions: panoptic quality, gate and report. Import the modules by name."""
