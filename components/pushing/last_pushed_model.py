"""LastPushedModel: finds the baseline by Pusher's pointer on platforms without a Resolver.

An output of Kubeflow's is never absent, so what stands for "no model was pushed yet" is an artifact marked as absent;
the containers' entry point (`pipeline/compiled/container_entrypoint.py`) leaves it out, and nodes after it see what
they see where a Resolver has found nothing. The model is copied, so that a baseline
that is rolled back or removed meanwhile does not disappear in the middle of a run.
"""

# No `from __future__ import annotations`: TFX reads the annotations of a function component as values.
import os

from absl import logging
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils

from components.pushing import model_pointer

ABSENT_KEY, ABSENT_FILE = "absent", "NO_MODEL_WAS_PUSHED"
VERSION_KEY, SOURCE_KEY = "pushed_version", "pushed_destination"


@component
def LastPushedModel(model: OutputArtifact[standard_artifacts.Model], pointer_file: Parameter[str]):
    """Copies the model that `pointer_file` names, or marks the output as absent."""
    pointer = model_pointer.read_pointer(pointer_file)
    fileio.makedirs(model.uri)
    if pointer is None:
        logging.info("Nothing was pushed yet: %s does not exist.", pointer_file)
        model.set_int_custom_property(ABSENT_KEY, 1)
        with fileio.open(os.path.join(model.uri, ABSENT_FILE), "w") as file:
            file.write(pointer_file)
        return
    io_utils.copy_dir(pointer.destination, path_utils.serving_model_dir(model.uri))
    model.set_int_custom_property(ABSENT_KEY, 0)
    model.set_string_custom_property(VERSION_KEY, pointer.version)
    model.set_string_custom_property(SOURCE_KEY, pointer.destination)
