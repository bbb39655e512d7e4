"""Reports a training run to a tracker: curves, settings, lineage, files. What is measured is left to `callbacks`."""
