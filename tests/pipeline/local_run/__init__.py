"""Tests of `pipeline.local_run`."""
