"""The artifact type of stored predictions; `prediction_files` says what such an artifact holds."""

from __future__ import annotations

from tfx.types import artifact
from tfx.types.system_artifacts import Dataset


class PanopticPredictions(artifact.Artifact):
    """Predictions of one model for one split of examples, counted against the truth, or why there are none."""

    # Kubeflow accepts `<namespace>.<Title>` alone and imports the class by that name: see `components.__getattr__`.
    TYPE_NAME = "components.PanopticPredictions"
    TYPE_ANNOTATION = Dataset
