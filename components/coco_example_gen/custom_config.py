"""Packs what CocoExampleGen's node, driver and executor tell each other through TFX's parameters.

IngestOptions travel as a Struct inside ExampleGen's `custom_config`, the folder of the span in the splits' pattern.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from tfx.proto import example_gen_pb2
from tfx.types import standard_component_specs
from tfx.utils import proto_utils

from components.coco_example_gen.options import IngestOptions

ANY_ENTRY = "*"  # What a split's pattern ends in, after the folder of the data set.
_OPTIONS_KEY, _SOURCE_KEY = "options", "source_sha256"


def pack_options(options: IngestOptions, source_sha256: str) -> example_gen_pb2.CustomConfig:
    """Packs the options.

    Args:
        options: The options of the ingestion.
        source_sha256: The SHA-256 of the code that does it, for the cache's key alone.
    """
    struct = struct_pb2.Struct()
    struct.update({_OPTIONS_KEY: dataclasses.asdict(options), _SOURCE_KEY: source_sha256})
    config = example_gen_pb2.CustomConfig()
    config.custom_config.Pack(struct)
    return config


def unpack_options(custom_config: str) -> IngestOptions:
    """Reads what `pack_options` wrote.

    Args:
        custom_config: the execution parameter, a CustomConfig as json.

    Raises:
        ValueError: if it holds something else.
    """
    config, struct = example_gen_pb2.CustomConfig(), struct_pb2.Struct()
    proto_utils.json_to_proto(custom_config, config)
    if not config.custom_config.Unpack(struct) or _OPTIONS_KEY not in struct:
        raise ValueError(f"`custom_config` must hold the options of CocoExampleGen. Received: {custom_config}")
    values = json_format.MessageToDict(struct[_OPTIONS_KEY])
    # A Struct knows floating-point numbers only.
    kinds: dict[str, Any] = {field.name: type(field.default) for field in dataclasses.fields(IngestOptions)}
    return IngestOptions(**{name: kinds[name](value) for name, value in values.items()})


def data_dir_of(exec_properties: Mapping[str, Any]) -> str:
    """Returns the data set's folder, or that of the span that TFX's driver has chosen."""
    input_config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties[standard_component_specs.INPUT_CONFIG_KEY], input_config)
    folder = os.path.dirname(input_config.splits[0].pattern)
    input_base = exec_properties[standard_component_specs.INPUT_BASE_KEY]
    return os.path.join(input_base, folder) if folder else input_base
