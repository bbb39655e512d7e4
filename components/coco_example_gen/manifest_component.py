"""CocoExampleGen without a driver: the data and the hash of its manifest are parameters.

Open-source Kubeflow Pipelines runs no driver, so TFX would find neither a span nor a fingerprint there, and its cache
would answer for data that has changed. Here the manifest's digest is part of what the cache compares, and an ingestion
that finds another manifest than it was promised stops.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfx import types
from tfx.components.example_gen import utils
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts
from tfx.types import standard_component_specs as specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import proto_utils

from components.artifact_lists import ArtifactLists
from components.coco_example_gen import executor
from components.coco_example_gen.component import source_sha256
from components.coco_example_gen.custom_config import ANY_ENTRY, pack_options, unpack_options
from components.coco_example_gen.data_manifest import stated_digest
from components.coco_example_gen.layouts.split_source import SplitSource
from components.coco_example_gen.options import SPLITS, IngestOptions
from components.coco_example_gen.sources import sources_of

DATA_DIR_KEY, DATA_SHA256_KEY = "data_dir", "data_sha256"


class ManifestExecutor(executor.Executor):
    """Ingests a folder whose manifest has the promised digest."""

    def Do(self, input_dict: ArtifactLists, output_dict: ArtifactLists, exec_properties: dict[str, Any]) -> None:
        """See the executor that this one extends.

        Raises:
            ValueError: if the manifest is another one, or damaged.
        """
        data_dir = exec_properties[DATA_DIR_KEY]
        options = unpack_options(exec_properties[specs.CUSTOM_CONFIG_KEY])
        check_promise(data_dir, sources_of(data_dir, options).values(), exec_properties[DATA_SHA256_KEY])
        [artifact] = output_dict[specs.EXAMPLES_KEY]
        fingerprint = f"content_sha256:{exec_properties[DATA_SHA256_KEY]}"
        artifact.set_string_custom_property(utils.FINGERPRINT_PROPERTY_NAME, fingerprint)
        splits = [example_gen_pb2.Input.Split(name=split, pattern=ANY_ENTRY) for split in SPLITS]
        as_of_driver = {
            specs.INPUT_BASE_KEY: data_dir,
            specs.INPUT_CONFIG_KEY: proto_utils.proto_to_json(example_gen_pb2.Input(splits=splits)),
            specs.CUSTOM_CONFIG_KEY: exec_properties[specs.CUSTOM_CONFIG_KEY],
        }
        super().Do(input_dict, output_dict, as_of_driver)


def check_promise(data_dir: str, sources: Iterable[SplitSource], data_sha256: str) -> None:
    """Holds the manifest beside the data against the digest that the run was given.

    Raises:
        FileNotFoundError: if there is no manifest.
        ValueError: if they differ, or the manifest is damaged or older than the annotations.
    """
    found = stated_digest(data_dir, sources)
    if found != data_sha256:
        raise ValueError(
            f"`{DATA_SHA256_KEY}` must be the digest of {data_dir}'s manifest, {found}. Received: {data_sha256}"
        )


class ManifestExampleGenSpec(ComponentSpec):
    """The inputs and outputs of ManifestExampleGen."""

    PARAMETERS = {
        DATA_DIR_KEY: ExecutionParameter(type=str),
        DATA_SHA256_KEY: ExecutionParameter(type=str),
        specs.CUSTOM_CONFIG_KEY: ExecutionParameter(type=str),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {specs.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples)}


class ManifestExampleGen(base_beam_component.BaseBeamComponent):
    """Reads photos and their annotations; output `examples`, as CocoExampleGen's."""

    SPEC_CLASS = ManifestExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(ManifestExecutor)

    def __init__(self, data_dir: str, data_sha256: str, options: IngestOptions):
        """Makes the node.

        Args:
            data_dir: the data folder; of one span, where there are spans.
            data_sha256: digest of its manifest, see `manifest`.
            options: The options of the ingestion.

        Raises:
            ValueError: if the options ask for the newest span: finding it takes a driver.
        """
        if options.span_pattern:
            raise ValueError(
                "`span_pattern` needs a driver: name the folder of one span instead. "
                f"Received: {options.span_pattern!r}"
            )
        super().__init__(
            spec=ManifestExampleGenSpec(
                data_dir=data_dir,
                data_sha256=data_sha256,
                custom_config=proto_utils.proto_to_json(pack_options(options, source_sha256())),
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )
