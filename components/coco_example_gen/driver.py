"""TFX's driver of file-based ExampleGens, with a fingerprint of what the files hold instead of when they were written.

It runs before the cache is asked, so its answer decides whether there is anything to ingest.
"""

from __future__ import annotations

from typing import Any

from tfx.components.example_gen import driver, utils
from tfx.orchestration import data_types
from tfx.types import standard_component_specs

from components.coco_example_gen.custom_config import data_dir_of, unpack_options
from components.coco_example_gen.data_manifest import input_digest, stated_digest
from components.coco_example_gen.sources import sources_of


class Driver(driver.FileBasedDriver):
    """Fingerprints the content of annotations, photos and PNGs."""

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, Any]:
        """See FileBasedDriver.

        Raises:
            FileNotFoundError: if the data folder has no layout that can be read, or lacks the manifest to be trusted.
            ValueError: if there is no span, or the manifest is not that of the data.
        """
        options = unpack_options(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        if not options.span_pattern:
            # Before TFX looks for files, whose answer for a wrong folder says less.
            sources_of(data_dir_of(exec_properties), options)
        resolved = super().resolve_exec_properties(exec_properties, pipeline_info, component_info)
        data_dir = data_dir_of(resolved)
        find_digest = stated_digest if options.trust_manifest else input_digest
        digest = find_digest(data_dir, sources_of(data_dir, options).values())
        return resolved | {utils.FINGERPRINT_PROPERTY_NAME: f"content_sha256:{digest}"}
