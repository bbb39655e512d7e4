"""Counts to scores: PQ with intervals, slices, confusion, TFMA's metrics."""
