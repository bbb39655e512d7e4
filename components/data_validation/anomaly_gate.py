"""AnomalyGate: stops the pipeline if ExampleValidator, which only reports, found anomalies.

It is a separate node, because a failed node's outputs are removed and the anomalies must stay readable.
"""

# No `from __future__ import annotations`: TFX reads the annotations of a function component as values.
import os

from absl import logging
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts

BLOCK, WARN = "block", "warn"


def describe_anomalies(anomalies: anomalies_pb2.Anomalies, split: str) -> list[str]:
    """Returns one sentence per anomaly of a split, by feature name; empty if the data fits the schema."""
    sentences = []
    if anomalies.HasField("dataset_anomaly_info"):
        sentences.append(f"{split}: {anomalies.dataset_anomaly_info.description}")
    for feature in sorted(anomalies.anomaly_info):
        info = anomalies.anomaly_info[feature]
        sentences.append(f"{split}: `{feature}`: {info.description or info.short_description}")
    return sentences


def read_anomalies(artifact: standard_artifacts.ExampleAnomalies) -> list[str]:
    """Returns all anomalies that ExampleValidator wrote, split by split."""
    sentences = []
    for split in artifact_utils.decode_split_names(artifact.split_names):
        with fileio.open(
            os.path.join(artifact_utils.get_split_uri([artifact], split), DEFAULT_FILE_NAME), "rb"
        ) as file:
            sentences += describe_anomalies(anomalies_pb2.Anomalies.FromString(file.read()), split)
    return sentences


def check_anomalies(sentences: list[str], action: str) -> None:
    """Raises an error or logs a warning about the anomalies.

    Args:
        sentences: What `read_anomalies` returns.
        action: "block" or "warn".

    Raises:
        ValueError: if there are anomalies and they block, or `action` is unknown.
    """
    if action not in (BLOCK, WARN):
        raise ValueError(f"`action` must be {BLOCK!r} or {WARN!r}. Received: {action!r}")
    if not sentences:
        return
    if action == BLOCK:
        raise ValueError("The data breaks the schema: " + "; ".join(sentences))
    logging.warning("The data breaks the schema. The run continues, as --on_anomalies asks: %s", "; ".join(sentences))


@component
def AnomalyGate(anomalies: InputArtifact[standard_artifacts.ExampleAnomalies], action: Parameter[str]):
    """Fails if there are anomalies and `action` is "block"."""
    check_anomalies(read_anomalies(anomalies), action)
