"""Turns counts into scores: PQ with intervals, slices, confusion, TFMA's metrics."""
