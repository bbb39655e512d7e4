"""Converts without TFX: plans, converts in Beam, judges the skipped records, and only then lets the files appear."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping

import apache_beam as beam
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from components.coco_example_gen.conversion.conversion_step import ConvertShards, read_notices, read_report
from components.coco_example_gen.conversion.folder_categories import categories_for
from components.coco_example_gen.conversion.tf_record_encoder import MaskOptions, TfRecordEncoder
from components.coco_example_gen.kept_aside import as_lines, check_share, count_reasons, describe
from components.coco_example_gen.layouts.split_source import PANOPTIC, SplitSource
from components.coco_example_gen.records.categories_file import object_names
from components.coco_example_gen.records.reference_files import SplitPlan, SplitRequest, plan_split
from components.whole_files import write_text
from maskformer_model.config.files import CATEGORIES_FILE, KEPT_ASIDE_FILE, NOTICES_FILE
from maskformer_model.data import tf_maskformer_features


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConversionJob:
    """The settings of a conversion.

    Attributes:
        source: The files to read.
        output_prefix: The path that the record files' names begin with.
        num_shards: The number of record files.
        masks: The further keys that are written.
        max_kept_aside_share: The largest share of the records that may be bad, 0..1, before the job fails.
        beam_args: Beam's flags, which say where it runs.
    """

    source: SplitSource
    output_prefix: str
    num_shards: int
    masks: MaskOptions = MaskOptions()
    max_kept_aside_share: float = 0.05
    beam_args: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Converted:
    """The result of a conversion.

    Attributes:
        pattern: A glob of the record files.
        num_written: The number of Examples in them.
        kept_aside: The number of skipped records per reason.
        kept_aside_file: The path of their list.
        noticed: The number of notices per reason.
        notices_file: The path of their list.
    """

    pattern: str
    num_written: int
    kept_aside: Mapping[str, int]
    kept_aside_file: str
    noticed: Mapping[str, int]
    notices_file: str

    def describe_kept_aside(self) -> str:
        """Says how many records were skipped and why."""
        return describe(self.kept_aside, self.kept_aside_file)

    def describe_notices(self) -> str:
        """Says what was noticed and how often."""
        return describe(self.noticed, self.notices_file)


def convert(job: ConversionJob) -> Converted:
    """Runs the job.

    Raises:
        FileNotFoundError: if a file that must be there is missing.
        TooManyKeptAsideError: if more records are bad than the job allows. The list of them is left behind.
        ValueError: if an annotation file is not whole, the categories do not fit the masks that are asked for or those
            of other records of the folder, or record files of another number of shards are there already.
    """
    if missing := job.source.missing(tf.io.gfile.exists):
        raise FileNotFoundError("Not found: " + ", ".join(f"{path} ({what})" for path, what in missing.items()))
    _refuse_other_shards(job)
    name = os.path.basename(job.output_prefix)
    # Beside the output, so that finished files are renamed and not copied.
    work_dir = f"{job.output_prefix}.unfinished"
    if tf.io.gfile.exists(work_dir):
        tf.io.gfile.rmtree(work_dir)  # What a job that was killed has left.
    tf.io.gfile.makedirs(work_dir)
    request = SplitRequest(
        split=name,
        num_shards=job.num_shards,
        keep_order=True,
        allow_empty_shards=True,
        shard_path=lambda index, count: f"{name}-{index:05d}-of-{count:05d}.tfrecord",
    )
    plan = plan_split(request, job.source, work_dir)
    plan = dataclasses.replace(plan, categories=categories_for(plan.categories, job.output_prefix))
    has_panoptic = job.source.truth == PANOPTIC
    if job.masks.include_panoptic_masks:
        tf_maskformer_features.check_categories(plan.categories)
    encode = TfRecordEncoder(
        job.masks,
        object_names(job.source),
        has_panoptic,
        has_panoptic and tf_maskformer_features.fits_masks(plan.categories),
    )
    with beam.Pipeline(options=PipelineOptions(list(job.beam_args))) as pipeline:
        pipeline | "ConvertShards" >> ConvertShards(plan.shards, plan.categories, work_dir, work_dir, encode)
    return _publish(job, plan, work_dir)


def _publish(job: ConversionJob, plan: SplitPlan, work_dir: str) -> Converted:
    kept_aside = [*plan.kept_aside, *(entry for shard in plan.shards for entry in read_report(shard, work_dir))]
    notices = [*plan.notices, *(entry for shard in plan.shards for entry in read_notices(shard, work_dir))]
    kept_aside_file = f"{job.output_prefix}.{KEPT_ASIDE_FILE}"
    notices_file = f"{job.output_prefix}.{NOTICES_FILE}"
    for path, entries in ((kept_aside_file, kept_aside), (notices_file, notices)):
        write_text(path, as_lines(entries))
    split = os.path.basename(job.output_prefix)
    check_share(split, kept_aside, plan.num_records, job.max_kept_aside_share, kept_aside_file)
    folder = os.path.dirname(job.output_prefix)
    write_text(os.path.join(folder, CATEGORIES_FILE), json.dumps(plan.categories.to_coco(), indent=1))
    for shard in plan.shards:
        tf.io.gfile.rename(os.path.join(work_dir, shard.path), os.path.join(folder, shard.path), overwrite=True)
    tf.io.gfile.rmtree(work_dir)
    return Converted(
        pattern=f"{job.output_prefix}-*-of-{len(plan.shards):05d}.tfrecord",
        num_written=plan.num_records - len(kept_aside),
        kept_aside=count_reasons(kept_aside),
        kept_aside_file=kept_aside_file,
        noticed=count_reasons(notices),
        notices_file=notices_file,
    )


def _refuse_other_shards(job: ConversionJob) -> None:
    ours = f"-of-{job.num_shards:05d}.tfrecord"
    others = [path for path in tf.io.gfile.glob(f"{job.output_prefix}-*-of-*.tfrecord") if not path.endswith(ours)]
    if others:
        raise ValueError(
            "`output_file_prefix` must not name record files of another number of shards: a reader would take both. "
            f"Found: {sorted(others)[:3]}"
        )
