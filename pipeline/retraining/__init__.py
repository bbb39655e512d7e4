"""The retraining loop: spans, mixed data, warm starts, alerts."""
