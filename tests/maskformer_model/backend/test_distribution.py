"""Which strategy a setting and an environment mean."""

import json
import types

import pytest
import tensorflow as tf

from maskformer_model.backend import distribution

TWO_WORKERS = json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}})


@pytest.mark.parametrize(
    ("name", "tpu", "num_accelerators", "tf_config", "expected"),
    [
        ("auto", "", 0, "", "one_device"),
        ("auto", "", 1, "", "one_device"),
        ("auto", "", 2, "", "mirrored"),
        ("auto", "local", 2, TWO_WORKERS, "tpu"),
        ("auto", "", 2, TWO_WORKERS, "multi_worker_mirrored"),
        ("auto", "", 0, json.dumps({"cluster": {"worker": ["a:1"]}}), "one_device"),
        ("one_device", "local", 8, TWO_WORKERS, "one_device"),
        ("mirrored", "", 0, "", "mirrored"),
    ],
)
def test_auto_takes_what_the_environment_offers_and_a_name_is_a_name(name, tpu, num_accelerators, tf_config, expected):
    environment = {"TF_CONFIG": tf_config} if tf_config else {}
    assert distribution.chosen_strategy(name, tpu, num_accelerators, environment) == expected


def test_an_environment_that_is_no_json_is_refused():
    with pytest.raises(ValueError, match="TF_CONFIG must hold json. Received: '{'"):
        distribution.chosen_strategy("auto", "", 0, {"TF_CONFIG": "{"})


def test_several_machines_must_be_named(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="needs the environment variable TF_CONFIG"):
        distribution.make_strategy("multi_worker_mirrored")


def test_one_device_is_tensorflow_s_own_default():
    assert distribution.make_strategy("one_device") is tf.distribute.get_strategy()
    assert distribution.is_chief(tf.distribute.get_strategy())


@pytest.mark.parametrize(
    ("task_type", "task_id", "cluster", "expected"),
    [
        ("worker", 0, {"worker": ["a", "b"]}, True),
        ("worker", 1, {"worker": ["a", "b"]}, False),
        ("worker", 0, {"chief": ["c"], "worker": ["a"]}, False),
        ("chief", 0, {"chief": ["c"], "worker": ["a"]}, True),
    ],
)
def test_one_process_of_a_job_is_the_chief(monkeypatch, task_type, task_id, cluster, expected):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster}))
    resolver = types.SimpleNamespace(task_type=task_type, task_id=task_id)
    assert distribution.is_chief(types.SimpleNamespace(cluster_resolver=resolver)) is expected
