"""The HTML report and the model card. Computes no score."""
