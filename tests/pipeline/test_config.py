"""Tests of `pipeline.config`."""

import dataclasses

import pytest

from maskformer_model.config import ExperimentConfig
from pipeline.config import IngestStepConfig, PipelineConfig


def make_config(**changes):
    values = {
        "root": "/tmp/root",
        "data": IngestStepConfig(data_dir="/tmp/data"),
        "experiment_name": "e",
        "experiment": ExperimentConfig(),
    }
    return PipelineConfig(**(values | changes))


def test_everything_a_run_leaves_is_below_the_root():
    config = make_config()
    assert config.artifacts_dir == "/tmp/root/pipeline"
    assert config.metadata_path == "/tmp/root/metadata.sqlite"
    assert config.serving_dir == "/tmp/root/serving"


def test_beam_is_told_a_runner_that_downloads_nothing():
    assert "--runner=FnApiRunner" in make_config().beam_args


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_dir", ""),
        ("on_anomalies", "ignore"),
    ],
)
def test_a_wrong_data_value_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"`{name}`.*Received"):
        IngestStepConfig(**({"data_dir": "/tmp/data"} | {name: value}))


@pytest.mark.parametrize("root", ["/runs/[a]", "/runs/a*", "/runs/what?", "/runs\\\\a"])
def test_a_root_that_would_be_taken_for_a_pattern_is_refused(root):
    with pytest.raises(ValueError, match="`root` must be a folder without the characters"):
        make_config(root=root)


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_config().root = "/elsewhere"
