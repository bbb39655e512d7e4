"""Tests of `components.trainer`; the end-to-end test of the pipeline runs it for real."""

import types

import pytest

from components.trainer import run_fn


@pytest.mark.parametrize("custom_config", [None, {}, {"other": 1}])
def test_a_trainer_without_an_experiment_is_refused(custom_config):
    fn_args = types.SimpleNamespace(custom_config=custom_config)
    with pytest.raises(KeyError, match="`custom_config` must hold 'experiment'. Received"):
        run_fn(fn_args)
