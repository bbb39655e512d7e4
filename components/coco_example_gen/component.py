"""CocoExampleGen: a data set in a published layout in, Examples with the splits train and eval out.

The typed contract; the work is in `executor`, what decides whether there is any in `driver`.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
from typing import Any

from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2, range_config_pb2

from components.coco_example_gen import driver, executor
from components.coco_example_gen.custom_config import ANY_ENTRY, pack_options
from components.coco_example_gen.options import SPLITS, IngestOptions
from components.source_fingerprint import fingerprint_behind


class CocoExampleGen(FileBasedExampleGen):
    """Reads photos and their annotations; output `examples`.

    The artifact holds `Split-train` and `Split-eval` (TFRecord files of Examples as `maskformer_model.data.examples`
    defines them), `categories.json`, `kept_aside.jsonl` with the records that were skipped, and `record_digests.json`
    with a hash of every record file.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        input_base: str,
        *,
        range_config: range_config_pb2.RangeConfig | None = None,
        **options: Any,
    ):
        """Makes the node.

        Args:
            input_base: the data folder, or the folder of all spans.
            range_config: which span is read where the options have a `span_pattern`; by default the newest.
            options: those of `IngestOptions`, by name.

        Raises:
            TypeError: if there is no option of a name.
            ValueError: if an option breaks its rule.
        """
        ingest_options = IngestOptions(**options)
        # What the splits are made of follows from the layout and is found where the data is; the pattern only says in
        # which folder that is, once TFX's driver has put in the span.
        pattern = os.path.join(ingest_options.span_pattern, ANY_ENTRY)
        super().__init__(
            input_base=input_base,
            input_config=example_gen_pb2.Input(
                splits=[example_gen_pb2.Input.Split(name=split, pattern=pattern) for split in SPLITS]
            ),
            custom_config=pack_options(ingest_options, source_sha256()),
            range_config=range_config,
            # The writer is ours: TFRecord files without gzip, under which photos do not shrink.
            output_file_format=example_gen_pb2.FILE_FORMAT_UNSPECIFIED,
        )


def source_sha256() -> str:
    """Returns the SHA-256 of the code that makes Examples, so that the cache notices when it has changed."""
    tables = sorted(pathlib.Path(__file__).parent.rglob("*.json"))
    digest = hashlib.sha256(fingerprint_behind(executor.__name__).encode())
    for path in tables:
        digest.update(path.read_bytes())
    return digest.hexdigest()
