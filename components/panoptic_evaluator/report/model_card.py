"""Collects facts about a model for its users: its size, its training, its machine and its code."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence

import tensorflow as tf

import maskformer_model
from components.panoptic_predictor.serving_model import max_instances_of_model
from maskformer_model.config.files import EXPERIMENT_FILE, EXTRA_ASSETS_FOLDER
from maskformer_model.metrics.average_precision import counted_words

_PACKAGES = ("tensorflow", "keras", "tfx")


def model_facts(model_dir: str, history: Sequence[Mapping[str, float]]) -> list[tuple[str, str]]:
    """Returns label and value of each known fact.

    Args:
        model_dir: The SavedModel.
        history: The model's training history.
    """
    facts = [("Size", _size_text(model_dir))]
    if history:
        last = history[-1]
        facts.append(("Training steps", f"{int(last['step']):,}" if "step" in last else "unknown"))
        if "seconds" in last:
            facts.append(("Training time", str(datetime.timedelta(seconds=round(last["seconds"])))))
    devices = [device.device_type for device in tf.config.list_physical_devices()]
    accelerators = ", ".join(sorted({kind for kind in devices if kind != "CPU"})) or "no accelerator"
    if words := counted_words(max_instances_of_model(model_dir)):
        facts.append(("Average precision", f"counts {words}"))
    facts.append(("Evaluated on", f"{platform.machine()}, {os.cpu_count()} CPU cores, {accelerators}"))
    facts.append(("Code of the model", f"{importlib.metadata.version('maskformer-tfx')}, source {source_hash()}"))
    facts.append(("Software", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)))
    return facts


def settings_text(model_dir: str) -> str:
    """Returns the model's experiment as json text; empty if the model has none."""
    path = os.path.join(model_dir, EXTRA_ASSETS_FOLDER, EXPERIMENT_FILE)
    if not tf.io.gfile.exists(path):
        return ""
    with tf.io.gfile.GFile(path) as file:
        return json.dumps(json.load(file), indent=1)


def source_hash() -> str:
    """Returns 12 digits of the SHA-256 over `maskformer_model`'s sources, which identify the code without git."""
    root = pathlib.Path(maskformer_model.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _size_text(model_dir: str) -> str:
    sizes = [
        tf.io.gfile.stat(os.path.join(folder, name)).length
        for folder, _, names in tf.io.gfile.walk(model_dir)
        for name in names
    ]
    return f"{sum(sizes) / 1e6:.1f} MB"
