"""Pusher: TFX's contract, with an atomic push that does nothing if the model already serves.

The artifact `pushed_model` keeps TFX's properties (`pushed`, `pushed_destination`, `pushed_version`) and adds
`already_serving`: 1 where the newest version has the same content, so that nothing was copied; the destination is then
that version's. A model that was withdrawn (`pipeline/rollback.py`) is not pushed again. Where `custom_config` names a
pointer file, it is kept: see `model_pointer`. How a version appears and disappears is left to `model_versions`.
"""

from __future__ import annotations

import json
import time
from typing import Any

from absl import logging
from tfx import types
from tfx.components.pusher import component as tfx_component
from tfx.components.pusher import executor as tfx_executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs
from tfx.utils import io_utils, proto_utils

from components.artifact_lists import ArtifactLists
from components.pushing import model_pointer, model_versions

ALREADY_SERVING_KEY = "already_serving"
KEEP_VERSIONS_KEY = "keep_versions"  # In `custom_config`: how many versions stay; without it all do.
POINTER_KEY = "pointer_file"  # In `custom_config`: what names the model that was pushed last.


class Executor(tfx_executor.Executor):
    """Pushes a blessed model to a local folder; other destinations are TFX's."""

    def Do(self, input_dict: ArtifactLists, output_dict: ArtifactLists, exec_properties: dict[str, Any]) -> None:
        """Pushes the model, see TFX's Pusher.

        Raises:
            ValueError: if there is no folder to push to.
            OSError: if the model cannot be copied; what served before still serves.
        """
        serving_dir = _local_serving_dir(exec_properties)
        custom_config = json.loads(exec_properties.get(specs.CUSTOM_CONFIG_KEY) or "null") or {}
        pushed_model = artifact_utils.get_single_instance(output_dict[specs.PUSHED_MODEL_KEY])
        pushed_model.set_int_custom_property(ALREADY_SERVING_KEY, 0)
        if serving_dir is None:
            super().Do(input_dict, output_dict, exec_properties)
        elif self.CheckBlessing(input_dict):
            self._push(self.GetModelPath(input_dict), serving_dir, pushed_model)
        else:
            self._MarkNotPushed(pushed_model)
            return
        if pointer_file := custom_config.get(POINTER_KEY):
            _point_to(pointer_file, pushed_model, artifact_utils.get_single_uri(input_dict[specs.MODEL_KEY]))
        num_kept = custom_config.get(KEEP_VERSIONS_KEY)
        # Only after the pointer has moved: it must never name what is gone.
        if serving_dir is not None and num_kept is not None:
            removed = model_versions.keep_newest(serving_dir, num_kept)
            logging.info("Removed from %s: %s.", serving_dir, removed or "nothing")

    def _push(self, model_dir: str, serving_dir: str, pushed_model: types.Artifact) -> None:
        versions = model_versions.list_versions(serving_dir)
        newest_dir = model_versions.version_dir(serving_dir, versions[-1]) if versions else None
        content_hash = model_versions.content_hash(model_dir)
        if newest_dir and model_versions.content_hash(newest_dir) == content_hash:
            logging.info("%s already serves this model; nothing is pushed.", newest_dir)
            self._MarkPushed(pushed_model, pushed_destination=newest_dir, pushed_version=str(versions[-1]))
            self._MarkNotPushed(pushed_model)
            pushed_model.set_int_custom_property(ALREADY_SERVING_KEY, 1)
            return
        if content_hash in model_versions.withdrawn_hashes(serving_dir):
            logging.warning("This model was withdrawn from %s; `rollback.py --restore` brings it back.", serving_dir)
            self._MarkNotPushed(pushed_model)
            return
        version = model_versions.publish(model_dir, serving_dir, now_s=int(time.time()))
        destination = model_versions.version_dir(serving_dir, version)
        # TFX's contract: the artifact holds a copy, whatever happens to the served folder later.
        io_utils.copy_dir(model_dir, pushed_model.uri)
        self._MarkPushed(pushed_model, pushed_destination=destination, pushed_version=str(version))
        logging.info("Pushed to %s.", destination)


class Pusher(tfx_component.Pusher):
    """TFX's Pusher with the executor above; inputs, outputs and parameters are TFX's."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)


def _point_to(pointer_file: str, pushed_model: types.Artifact, model_uri: str) -> None:
    """Points the pointer to the pushed or already serving model; without one, it stays."""
    if not (
        pushed_model.get_int_custom_property("pushed") or pushed_model.get_int_custom_property(ALREADY_SERVING_KEY)
    ):
        return
    pointer = model_pointer.ModelPointer(
        version=pushed_model.get_string_custom_property("pushed_version"),
        destination=pushed_model.get_string_custom_property("pushed_destination"),
        model_uri=model_uri,
    )
    model_pointer.write_pointer(pointer_file, pointer)
    logging.info("%s names version %s.", pointer_file, pointer.version)


def _local_serving_dir(exec_properties: dict[str, Any]) -> str | None:
    destination = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(exec_properties[specs.PUSH_DESTINATION_KEY], destination)
    serving_dir = destination.filesystem.base_directory
    if not serving_dir:
        raise ValueError(f"`push_destination` must name a folder. Received: {destination}")
    return None if "://" in serving_dir else serving_dir
