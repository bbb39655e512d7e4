"""Tests of `components`."""
