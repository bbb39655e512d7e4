"""Tests of `components.training`."""
