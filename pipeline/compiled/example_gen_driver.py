"""Runs CocoExampleGen's driver on Vertex AI: TFX's driver finds the span, then a fingerprint of the data is added.

Vertex runs TFX's driver of file-based ExampleGens, never a custom one. Its cache would compare sizes and times of the
files that match a pattern, and would miss a changed photo. This program runs that driver and replaces its fingerprint,
as our driver does elsewhere, by the digest of every file that is read, or of the manifest beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any


def content_fingerprint(exec_properties: dict[str, Any]) -> str:
    """Returns the same fingerprint as `components.coco_example_gen.driver`.

    Args:
        exec_properties: CocoExampleGen's properties, after TFX's driver has added the span.
    """
    from tfx.types import standard_component_specs as specs

    from components.coco_example_gen import data_manifest
    from components.coco_example_gen.custom_config import data_dir_of, unpack_options
    from components.coco_example_gen.sources import sources_of

    data_dir = data_dir_of(exec_properties)
    options = unpack_options(exec_properties[specs.CUSTOM_CONFIG_KEY])
    find_digest = data_manifest.stated_digest if options.trust_manifest else data_manifest.input_digest
    digest = find_digest(data_dir, sources_of(data_dir, options).values())
    return f"content_sha256:{digest}"


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Reads TFX's flags; Beam's are not used here."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.compiled.example_gen_driver", allow_abbrev=False)
    parser.add_argument("--json_serialized_invocation_args", required=True, help="an ExecutorInput")
    parser.add_argument("--json_serialized_inputs_spec_args", help="a ComponentInputsSpec")
    return parser.parse_known_args(argv)[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the driver."""
    args = parse_args(sys.argv[1:] if argv is None else argv)
    from tfx.components.example_gen import utils
    from tfx.dsl.io import fileio
    from tfx.orchestration.kubeflow.v2.file_based_example_gen import driver as tfx_driver

    tfx_driver.main(args)
    executor_input = json.loads(args.json_serialized_invocation_args)
    output_file = executor_input["outputs"]["outputFile"]
    with fileio.open(output_file, "r") as file:
        output = json.loads(file.read())
    found = output["parameterValues"]
    fingerprint = content_fingerprint(executor_input["inputs"]["parameterValues"] | found)
    found[utils.FINGERPRINT_PROPERTY_NAME] = fingerprint
    for artifact in output["artifacts"]["examples"]["artifacts"]:
        artifact["metadata"][utils.FINGERPRINT_PROPERTY_NAME] = fingerprint
    with fileio.open(output_file, "w") as file:
        file.write(json.dumps(output, indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
