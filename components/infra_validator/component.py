"""InfraValidator: blesses a candidate that loads and answers real photos in a process of its own.

TFX's component of that name needs TensorFlow Serving in Docker or Kubernetes. This one gives the same artifact, which
Pusher reads, and asks of the machine that it runs on a Python process and nothing else.
"""

# No `from __future__ import annotations`: TFX reads the annotations of a function component as values.
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile

from absl import logging
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.infra_validator import check_model

BLESSED_KEY, REASON_KEY = "blessed", "reason"
# TFX's names of the files.
BLESSED_FILE, NOT_BLESSED_FILE = "INFRA_BLESSED", "INFRA_NOT_BLESSED"


def first_photos(split_dir: str, num_photos: int) -> list[bytes]:
    """Encoded photos of the first records of a split.

    Raises:
        ValueError: if there is none.
    """
    from components.panoptic_predictor import prediction_files
    from maskformer_model.data import examples

    records = itertools.chain.from_iterable(
        prediction_files.read_records(path) for path in prediction_files.example_files(split_dir)
    )
    photos = [examples.decode_record(record).image_encoded for record in itertools.islice(records, num_photos)]
    if not photos:
        raise ValueError(f"A split must hold a photo to send to the model. Received an empty one: {split_dir}")
    return photos


def why_not(model_dir: str, photos: list[bytes], timeout_s: float) -> str:
    """Returns why a model cannot serve; empty if it can."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, f"photo-{index}") for index in range(len(photos))]
        for path, photo in zip(paths, photos, strict=True):
            path.write_bytes(photo)
        command = [sys.executable, "-m", check_model.__name__, "--model", model_dir, "--photos", *map(str, paths)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return f"It did not answer {len(photos)} photos within {timeout_s:g} s."
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"Its process was ended by signal {-done.returncode}."
    return (done.stderr.strip().splitlines() or [f"Its process ended with status {done.returncode}."])[-1]


@component
def InfraValidator(
    model: InputArtifact[standard_artifacts.Model],
    examples: InputArtifact[standard_artifacts.Examples],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
    split: Parameter[str],
    num_photos: Parameter[int],
    timeout_s: Parameter[int],
):
    """Sends the first photos of a split to the model; `blessing` has TFX's property and file, and the `reason`."""
    photos = first_photos(artifact_utils.get_split_uri([examples], split), num_photos)
    reason = why_not(path_utils.serving_model_path(model.uri), photos, timeout_s)
    if reason:
        logging.error("The model cannot serve: %s", reason)
    blessing.set_int_custom_property(BLESSED_KEY, int(not reason))
    blessing.set_string_custom_property(REASON_KEY, reason)
    name = NOT_BLESSED_FILE if reason else BLESSED_FILE
    fileio.makedirs(blessing.uri)
    with fileio.open(os.path.join(blessing.uri, name), "w") as file:
        file.write(reason)
