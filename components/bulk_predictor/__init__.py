"""Predictions for millions of photos with Beam: `python -m components.bulk_predictor`. Import modules by name."""
