"""Tests of `components.data_validation`."""
