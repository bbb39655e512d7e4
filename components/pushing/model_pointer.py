"""Reads and writes the pointer to the last pushed model, a small json file, also in an object store.

Open-source Kubeflow Pipelines cannot ask its metadata for the last blessed model, as a Resolver does elsewhere. There
the baseline is what this file names. It is replaced whole: a reader finds the old model or the new one.
"""

from __future__ import annotations

import dataclasses
import json
import os

import tensorflow as tf

from components.whole_files import write_text


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelPointer:
    """The last pushed model.

    Attributes:
        version: The name of the pushed version, a unix time.
        destination: The folder that holds its SavedModel.
        model_uri: The artifact that it was copied from.
    """

    version: str
    destination: str
    model_uri: str = ""


def write_pointer(path: str, pointer: ModelPointer) -> None:
    """Replaces the pointer at once.

    Raises:
        ValueError: if there is no model where it would point to.
    """
    if not tf.io.gfile.exists(os.path.join(pointer.destination, tf.saved_model.SAVED_MODEL_FILENAME_PB)):
        raise ValueError(f"`pointer.destination` must hold a SavedModel. Received: {pointer}")
    tf.io.gfile.makedirs(os.path.dirname(path))
    write_text(path, json.dumps(dataclasses.asdict(pointer), indent=1, sort_keys=True))


def read_pointer(path: str) -> ModelPointer | None:
    """Reads the pointer; None where nothing was pushed yet, or everything was withdrawn.

    Raises:
        ValueError: if the file is damaged, or the model that it names is gone.
    """
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "r") as file:
        text = file.read()
    try:
        pointer = ModelPointer(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise ValueError(f"The pointer must be json with {_fields()}. Received in {path}: {text!r}") from error
    if not tf.io.gfile.exists(os.path.join(pointer.destination, tf.saved_model.SAVED_MODEL_FILENAME_PB)):
        raise ValueError(f"{path} must name a SavedModel that exists. Received: {pointer}")
    return pointer


def remove_pointer(path: str) -> None:
    """Removes the pointer when nothing serves any more."""
    if tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)


def _fields() -> list[str]:
    return [field.name for field in dataclasses.fields(ModelPointer)]
