"""Does the work of CocoExampleGen: plans, converts in Beam, judges the skipped records, finishes the artifact.

TFX's own ExampleGen executor sends every photo through a shuffle and lets Beam choose the number of files; here
references alone move. Of that executor the contract is kept: splits, file names and payload format.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs

from components.artifact_lists import ArtifactLists
from components.coco_example_gen.conversion.conversion_step import ConvertShards, read_digest, read_notices, read_report
from components.coco_example_gen.custom_config import data_dir_of, unpack_options
from components.coco_example_gen.kept_aside import (
    KeptAside,
    TooManyKeptAsideError,
    as_lines,
    check_share,
    count_reasons,
)
from components.coco_example_gen.options import SPLITS, IngestOptions
from components.coco_example_gen.records.reference_files import SplitPlan, SplitRequest, plan_split
from components.coco_example_gen.sources import sources_of
from components.whole_files import write_text
from maskformer_model.categories import CategoryTable, TableMatch, compare_categories
from maskformer_model.config.files import CATEGORIES_FILE, KEPT_ASIDE_FILE, NOTICES_FILE, RECORD_DIGESTS_FILE

_WORK_FOLDER = "unfinished"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes an Examples artifact with the splits train and eval."""

    def Do(self, input_dict: ArtifactLists, output_dict: ArtifactLists, exec_properties: dict[str, Any]) -> None:
        """Reads, checks and writes.

        Args:
            input_dict: Not used.
            output_dict: The output `examples`.
            exec_properties: `input_base` and `input_config` say where the data is; `custom_config` is an IngestOptions.

        Raises:
            FileNotFoundError: if the data folder has no layout that can be read.
            ValueError: if an annotation file is not usable, or the splits' categories differ.
            TooManyKeptAsideError: if more records are bad than `max_kept_aside_share` allows.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        [artifact] = output_dict[standard_component_specs.EXAMPLES_KEY]
        options = unpack_options(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        sources = sources_of(data_dir_of(exec_properties), options)
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        # No file format is set: TFX's only name for TFRecord files says gzip, and its readers go by the file's name.

        work_dir = os.path.join(artifact.uri, _WORK_FOLDER)
        for folder in (work_dir, *(os.path.join(artifact.uri, f"Split-{split}") for split in SPLITS)):
            tf.io.gfile.makedirs(folder)
        plans = {split: plan_split(_request(split, options), source, work_dir) for split, source in sources.items()}
        categories = common_categories(plans)
        shards = [shard for plan in plans.values() for shard in plan.shards]
        with self._make_beam_pipeline() as pipeline:
            pipeline | "ConvertShards" >> ConvertShards(shards, categories, artifact.uri, work_dir)

        kept_aside = [entry for plan in plans.values() for entry in plan.kept_aside]
        kept_aside += [entry for shard in shards for entry in read_report(shard, work_dir)]
        notices = [entry for plan in plans.values() for entry in plan.notices]
        notices += [entry for shard in shards for entry in read_notices(shard, work_dir)]
        num_records = {split: plan.num_records for split, plan in plans.items()}
        _judge_kept_aside(kept_aside, num_records, options.max_kept_aside_share, artifact.uri)
        write_text(os.path.join(artifact.uri, KEPT_ASIDE_FILE), as_lines(kept_aside))
        write_text(os.path.join(artifact.uri, NOTICES_FILE), as_lines(notices))
        write_text(os.path.join(artifact.uri, CATEGORIES_FILE), json.dumps(categories.to_coco(), indent=1))
        digests = {shard.path: read_digest(shard, work_dir) for shard in shards}
        write_text(os.path.join(artifact.uri, RECORD_DIGESTS_FILE), json.dumps(digests, indent=1))
        tf.io.gfile.rmtree(work_dir)
        logging.info("Of the records %s, %d were skipped.", num_records, len(kept_aside))
        if notices:
            logging.warning("Noticed, see %s: %s", os.path.join(artifact.uri, NOTICES_FILE), count_reasons(notices))


def common_categories(plans: Mapping[str, SplitPlan]) -> CategoryTable:
    """Returns the categories of all splits, in the first one's order: a category's id leads to its class.

    Raises:
        ValueError: if they differ between splits in more than their order: one class index would mean two things.
    """
    (first_split, first), *others = ((split, plan.categories) for split, plan in plans.items())
    for split, table in others:
        match, words = compare_categories(first, table, f"in {first_split}", f"in {split}")
        if match == TableMatch.OTHER:
            raise ValueError(f"All splits must list the same categories, but {words}.")
    return first


def _request(split: str, options: IngestOptions) -> SplitRequest:
    return SplitRequest(
        split=split,
        max_images=options.max_images(split),
        num_shards=options.num_shards,
    )


def _judge_kept_aside(
    kept_aside: Sequence[KeptAside], num_records: Mapping[str, int], max_share: float, uri: str
) -> None:
    # TFX removes the artifact of a node that fails; the list that the error names has to outlive it.
    list_path = f"{uri.rstrip('/')}.{KEPT_ASIDE_FILE}"
    try:
        for split, count in num_records.items():
            check_share(split, [entry for entry in kept_aside if entry.split == split], count, max_share, list_path)
    except TooManyKeptAsideError:
        write_text(list_path, as_lines(kept_aside))
        raise
