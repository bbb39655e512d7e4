"""The gate: decides whether a candidate may serve, from its scores and the baseline's."""
