"""Tests of `components.pushing`."""
