"""Nodes that judge data before training: schema, anomalies, facts and drift."""
