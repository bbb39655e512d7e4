"""CuratedSchemaGen: TFX's ImportSchemaGen, but it notices an edited schema file.

TFX's cache compares the file's path alone, so an edited schema would go unread until the metadata is thrown away. Here
the file's hash is a parameter beside the path.
"""

from __future__ import annotations

import hashlib

from tfx.components.schema_gen.import_schema_gen import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.io import fileio
from tfx.types import Channel, component_spec, standard_artifacts, standard_component_specs


class CuratedSchemaGenSpec(standard_component_specs.ImportSchemaGenSpec):
    """ImportSchemaGen's contract plus the hash of the file."""

    PARAMETERS = {
        **standard_component_specs.ImportSchemaGenSpec.PARAMETERS,
        "schema_sha256": component_spec.ExecutionParameter(type=str),
    }


class CuratedSchemaGen(base_component.BaseComponent):
    """Copies a schema file into the pipeline; output `schema`, as SchemaGen's."""

    SPEC_CLASS = CuratedSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema_file: str):
        """Makes the node.

        Args:
            schema_file: A `Schema` proto as text.

        Raises:
            tfx.dsl.io.fileio.NotFoundError: if there is no such file.
        """
        with fileio.open(schema_file, "rb") as file:
            schema_sha256 = hashlib.sha256(file.read()).hexdigest()
        super().__init__(
            spec=CuratedSchemaGenSpec(
                schema_file=schema_file,
                schema_sha256=schema_sha256,
                schema=Channel(type=standard_artifacts.Schema),
            )
        )
