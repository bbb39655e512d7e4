"""The gate: whether a candidate may serve, judged by its scores against the baseline's."""
