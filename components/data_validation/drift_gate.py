"""DriftGate: notices that the class distribution has changed since the serving model was trained.

The facts that Transform has found are compared with those that the last blessed model carries. The measure is the
largest change of one class's share, of the segments or of the labelled pixels: the L-infinity distance, as TFDV's drift
comparator has it. Without a blessed model there is nothing to compare with. A model that was trained on drifted data
and blessed is what the next data is compared with; a run that was stopped is not.
"""

# No `from __future__ import annotations`: TFX reads the annotations of a function component as values.
import json
import os
from typing import Any

from absl import logging
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.data_validation.data_facts import read_facts
from maskformer_model.categories import CategoryTable
from maskformer_model.config.files import DATA_FACTS_FILE, EXTRA_ASSETS_FOLDER
from maskformer_model.data import examples

BLOCK, WARN = "block", "warn"
_SHARES = {"segment_share": "segments", "pixel_share": "labelled pixels"}
_FACTS_PATH = os.path.join(EXTRA_ASSETS_FOLDER, DATA_FACTS_FILE)


def describe_drift(current: dict[str, Any], baseline: dict[str, Any], max_class_drift: float) -> list[str]:
    """Returns one sentence per class that has drifted, the largest change first; empty if none has.

    Args:
        current: facts of the new data, see `data_facts.read_facts`.
        baseline: facts of the older data. A class that one of them does not list has no share there.
        max_class_drift: The largest change of a share that does not count as drift.
    """
    found = []
    for share, meaning in _SHARES.items():
        now, before = ({entry["name"]: entry[share] for entry in facts["classes"]} for facts in (current, baseline))
        for name in before | now:
            old, new = before.get(name, 0.0), now.get(name, 0.0)
            if abs(new - old) > max_class_drift:
                found.append((abs(new - old), f"{name!r} has {new:.1%} of the {meaning}, it had {old:.1%}"))
    return [sentence for _, sentence in sorted(found, reverse=True)]


def check_drift(sentences: list[str], action: str) -> None:
    """Raises an error or logs a warning about the drift.

    Raises:
        ValueError: if classes have drifted and that blocks, or `action` is unknown.
    """
    if action not in (BLOCK, WARN):
        raise ValueError(f"`action` must be {BLOCK!r} or {WARN!r}. Received: {action!r}")
    if sentences and action == BLOCK:
        raise ValueError("The class distribution has changed: " + "; ".join(sentences))
    if sentences:
        logging.warning("The class distribution has changed: %s", "; ".join(sentences))


def read_model_facts(model_uri: str) -> dict[str, Any] | None:
    """Returns the facts that a model carries, or None."""
    path = os.path.join(path_utils.serving_model_path(model_uri), _FACTS_PATH)
    if not fileio.exists(path):
        return None
    with fileio.open(path, "r") as file:
        return json.loads(file.read())


def judge_drift(
    examples_dir: str, transform_graph_dir: str, model_dir: str | None, action: str, max_class_drift: float
) -> None:
    """Compares the facts of new data with those of a model's data.

    Args:
        examples_dir: the train split's folder, whose artifact holds the categories.
        transform_graph_dir: The folder of Transform's output.
        model_dir: the model's artifact; None where there is none.
        action: "block" or "warn".
        max_class_drift: see `describe_drift`.

    Raises:
        ValueError: if classes have drifted and that blocks.
    """
    baseline = read_model_facts(model_dir) if model_dir else None
    if baseline is None:
        logging.info("No blessed model carries facts of its data: drift is not judged.")
        return
    categories = CategoryTable.load(examples.categories_path(os.path.join(examples_dir, "*")))
    current = read_facts(transform_graph_dir, categories)
    check_drift(describe_drift(current, baseline, max_class_drift), action)


@component
def DriftGate(
    examples_artifact: InputArtifact[standard_artifacts.Examples],
    transform_graph: InputArtifact[standard_artifacts.TransformGraph],
    action: Parameter[str],
    max_class_drift: Parameter[float],
    baseline_model: InputArtifact[standard_artifacts.Model] = None,
):
    """Fails if the classes have drifted by more than `max_class_drift` and `action` is "block"."""
    split_dir = artifact_utils.get_split_uri([examples_artifact], "train")
    model_dir = baseline_model.uri if baseline_model else None
    judge_drift(split_dir, transform_graph.uri, model_dir, action, max_class_drift)
