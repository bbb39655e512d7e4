"""The curves of a training run as a file: one row per logging interval."""

from __future__ import annotations

import json
import os

import tensorflow as tf

from maskformer_model.config.files import HISTORY_FILE


def write_history(model_dir: str, history: list[dict[str, float]]) -> None:
    """Writes the curves; a reader sees the old file or the new one, whole."""
    path = os.path.join(model_dir, HISTORY_FILE)
    with tf.io.gfile.GFile(f"{path}.part", "w") as file:
        json.dump(history, file, indent=1)
    tf.io.gfile.rename(f"{path}.part", path, overwrite=True)


def read_history(model_dir: str) -> list[dict[str, float]]:
    """Returns the curves of `model_dir`; empty where no row was written yet."""
    path = os.path.join(model_dir, HISTORY_FILE)
    if not tf.io.gfile.exists(path):
        return []
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


def evaluations_since_best(history: list[dict[str, float]], score: str) -> int:
    """Returns how many evaluations in a row, the newest ones, were not better than the best one before them."""
    scores = [row[score] for row in history if score in row]
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0
