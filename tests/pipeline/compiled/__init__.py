"""Tests of `pipeline.compiled`."""
