"""References -> record files, in Beam: one step, an element per shard, and no pixel travels between workers.

A worker reads, checks and writes the photos of one shard. The shard appears under its own name when it is whole, and is
written elsewhere until then: a retried step overwrites, and a reader never sees half a file.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import uuid
from collections.abc import Sequence

import apache_beam as beam
import tensorflow as tf

from components.coco_example_gen.annotations import ImageRef
from components.coco_example_gen.coco_files import CocoFiles
from components.coco_example_gen.kept_aside import BadRecordError, KeptAside
from components.coco_example_gen.record_reader import read_record
from maskformer_model.categories import CategoryTable
from maskformer_model.examples import encode_example

_IMAGES_PER_SHARD = 256  # About 50 MB of COCO photos: small enough to retry, large enough to read in one go.


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """One record file to write.

    Attributes:
        split: of the Examples.
        index: of the shard among those of the split.
        num_shards: of the split.
        files: where the photos are.
        images: what goes in, in this order.
    """

    split: str
    index: int
    num_shards: int
    files: CocoFiles
    images: tuple[ImageRef, ...]

    @property
    def path(self) -> str:
        """The record file, relative to the artifact."""
        return os.path.join(f"Split-{self.split}", f"data_tfrecord-{self.index:05d}-of-{self.num_shards:05d}")

    @property
    def report_name(self) -> str:
        """File name for what was kept aside."""
        return f"{self.split}-{self.index:05d}.jsonl"


def plan_shards(split: str, files: CocoFiles, images: Sequence[ImageRef], num_shards: int) -> list[ShardPlan]:
    """Deals photos out to shards like cards, so that every shard is a fair sample.

    Args:
        split: of the Examples.
        files: where the photos are.
        images: of the split.
        num_shards: how many; 0 chooses; never more than photos.
    """
    wanted = num_shards or math.ceil(len(images) / _IMAGES_PER_SHARD)
    count = max(1, min(wanted, len(images)))
    return [
        ShardPlan(split=split, index=index, num_shards=count, files=files, images=tuple(images[index::count]))
        for index in range(count)
    ]


def convert_shard(plan: ShardPlan, categories: CategoryTable, output_dir: str, work_dir: str) -> None:
    """Writes one shard and the list of what had to be kept aside.

    Args:
        plan: what to write.
        categories: of the data set.
        output_dir: of the Examples artifact; the split's folder must exist.
        work_dir: for unfinished files and for the lists; must exist, on the same file system as `output_dir`.
    """
    kept_aside = []
    unfinished = os.path.join(work_dir, f"unfinished-{uuid.uuid4().hex}")
    with tf.io.TFRecordWriter(unfinished) as writer:
        for ref in plan.images:
            try:
                record = read_record(ref, plan.files, categories)
            except BadRecordError as error:
                kept_aside.append(_kept_aside(plan.split, ref, error))
                continue
            writer.write(encode_example(record).SerializeToString(deterministic=True))
    unfinished_report = f"{unfinished}.jsonl"
    with tf.io.gfile.GFile(unfinished_report, "w") as report:
        report.write("".join(f"{entry.to_json()}\n" for entry in kept_aside))
    tf.io.gfile.rename(unfinished, os.path.join(output_dir, plan.path), overwrite=True)
    tf.io.gfile.rename(unfinished_report, os.path.join(work_dir, plan.report_name), overwrite=True)


def read_report(plan: ShardPlan, work_dir: str) -> list[KeptAside]:
    """What `convert_shard` kept aside.

    Raises:
        tf.errors.NotFoundError: if the shard was not finished.
    """
    with tf.io.gfile.GFile(os.path.join(work_dir, plan.report_name)) as report:
        return [KeptAside(**json.loads(line)) for line in report]


class ConvertShards(beam.PTransform):
    """Writes the shards of `plans`; see `convert_shard`."""

    def __init__(self, plans: Sequence[ShardPlan], categories: CategoryTable, output_dir: str, work_dir: str):
        super().__init__()
        self._plans = list(plans)
        self._arguments = (categories, output_dir, work_dir)

    def expand(self, pipeline):
        """Connects the steps."""
        return (
            pipeline
            | "ListShards" >> beam.Create(self._plans)
            | "SpreadShards" >> beam.Reshuffle()
            | "ReadCheckAndWrite" >> beam.Map(convert_shard, *self._arguments)
        )


def _kept_aside(split: str, ref: ImageRef, error: BadRecordError) -> KeptAside:
    return KeptAside(
        split=split, image_id=ref.image_id, file_name=ref.file_name, reason=error.reason, detail=error.detail
    )
