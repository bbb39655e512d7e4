"""TFX's driver of file-based ExampleGens, with a fingerprint of what the files hold instead of when they were written.

It runs before the cache is asked, so its answer decides whether there is anything to ingest.
"""

from __future__ import annotations

from typing import Any

from tfx.components.example_gen import driver, utils
from tfx.orchestration import data_types
from tfx.types import standard_component_specs

from components.coco_example_gen.coco_files import CocoFiles
from components.coco_example_gen.custom_config import unpack_options
from components.coco_example_gen.manifest import build_manifest, manifest_digest
from components.coco_example_gen.options import SPLITS


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
            FileNotFoundError: if the data folder has not the layout that it must have.
        """
        data_dir = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        options = unpack_options(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        sources = {options.folder(split): CocoFiles(data_dir, options.folder(split)) for split in SPLITS}
        for files in sources.values():
            files.check()
        resolved = super().resolve_exec_properties(exec_properties, pipeline_info, component_info)
        digest = manifest_digest(build_manifest(sources.values()))
        return resolved | {utils.FINGERPRINT_PROPERTY_NAME: f"content_sha256:{digest}"}
