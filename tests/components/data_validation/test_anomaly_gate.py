"""Tests of `components.data_validation.anomaly_gate`."""

import logging
import os

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import standard_artifacts

from components.data_validation.anomaly_gate import check_anomalies, describe_anomalies, read_anomalies


@pytest.fixture
def broken():
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info["image/width"].description = "The smallest value was 3, which is below 16."
    anomalies.anomaly_info["image/height"].short_description = "Column dropped"
    return anomalies


def write_artifact(folder, of_split):
    artifact = standard_artifacts.ExampleAnomalies()
    artifact.uri = str(folder)
    artifact.split_names = '["train", "eval"]'
    for split, anomalies in of_split.items():
        os.makedirs(folder / f"Split-{split}")
        (folder / f"Split-{split}" / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString())
    return artifact


def test_every_anomaly_is_a_sentence_with_split_and_feature(broken):
    assert describe_anomalies(broken, "eval") == [
        "eval: `image/height`: Column dropped",
        "eval: `image/width`: The smallest value was 3, which is below 16.",
    ]
    assert describe_anomalies(anomalies_pb2.Anomalies(), "eval") == []


def test_too_few_examples_are_an_anomaly_of_the_whole_split():
    anomalies = anomalies_pb2.Anomalies()
    anomalies.dataset_anomaly_info.description = "The dataset has 0 examples."
    assert describe_anomalies(anomalies, "train") == ["train: The dataset has 0 examples."]


def test_all_splits_are_read(tmp_path, broken):
    artifact = write_artifact(tmp_path, {"train": anomalies_pb2.Anomalies(), "eval": broken})
    assert [sentence[:6] for sentence in read_anomalies(artifact)] == ["eval: ", "eval: "]


def test_anomalies_block_or_warn_as_it_was_told(caplog):
    check_anomalies([], "block")
    with pytest.raises(ValueError, match="The data breaks the schema: train: too few"):
        check_anomalies(["train: too few"], "block")
    with caplog.at_level(logging.WARNING, logger="absl"):
        check_anomalies(["train: too few"], "warn")
    assert "train: too few" in caplog.text


def test_an_unknown_action_is_refused_even_for_good_data():
    with pytest.raises(ValueError, match="`action` must be 'block' or 'warn'. Received: 'ignore'"):
        check_anomalies([], "ignore")
