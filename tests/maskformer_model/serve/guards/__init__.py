"""Tests of `maskformer_model.serve.guards`."""
