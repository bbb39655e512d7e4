"""Tests of `components.infra_validator`."""
