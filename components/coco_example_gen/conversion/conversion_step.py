"""Turns references into record files, in Beam: one step, an element per shard, and no pixel travels between workers.

A worker reads, checks and writes the photos of one shard. The shard appears under its own name when it is whole, and is
written elsewhere until then: a retried step overwrites, and a reader never sees half a file.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import apache_beam as beam
import numpy as np
import tensorflow as tf

from components.coco_example_gen.kept_aside import BadRecordError, KeptAside, Notice, as_lines
from components.coco_example_gen.layouts.data_files import UnreadableFileError
from components.coco_example_gen.records.reader import read_checked_record
from components.coco_example_gen.records.reference_files import ShardPlan, read_references
from components.coco_example_gen.records.references import ImageRef
from components.whole_files import write_text
from maskformer_model.categories import CategoryTable
from maskformer_model.data.examples import ExampleRecord, encode_example

_READING_THREADS = 4
# Errors of an object store or of this machine: not the record's fault, so the step fails and is tried again.
_NOT_OF_THE_RECORD = (
    MemoryError,
    OSError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnauthenticatedError,
    tf.errors.UnavailableError,
)
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Encoded(NamedTuple):
    """A record as it is written.

    Attributes:
        example: The Example.
        notices: What was left out of it.
    """

    example: tf.train.Example
    notices: Sequence[Notice] = ()


# Makes the Example of a record; gets the reference and the segment ids too, for further keys.
Encoder = Callable[[ExampleRecord, ImageRef, np.ndarray], Encoded]


class _Converted(NamedTuple):
    example: bytes
    notices: list[KeptAside]


def encode_plain(record: ExampleRecord, ref: ImageRef, segment_ids: np.ndarray) -> Encoded:
    """Makes an Example with the keys of `maskformer_model.data.examples` and no others."""
    return Encoded(encode_example(record))


def convert_shard(
    plan: ShardPlan, categories: CategoryTable, output_dir: str, work_dir: str, encode: Encoder = encode_plain
) -> None:
    """Writes one shard, the lists of skipped records and of notices, and the hash of the records.

    Args:
        plan: The shard to write.
        categories: The categories of the data set.
        output_dir: The folder of the record files; the folder of `plan.path` must exist.
        work_dir: The folder of unfinished files, lists and hashes; must exist, on the same file system as `output_dir`.
        encode: The function that makes the Examples.
    """
    kept_aside: list[KeptAside] = []
    notices: list[KeptAside] = []
    digest = hashlib.sha256()
    unfinished = os.path.join(work_dir, f"unfinished-{uuid.uuid4().hex}")
    with tf.io.TFRecordWriter(unfinished) as writer:
        for found in in_threads(functools.partial(_convert, plan, categories, encode), read_references(plan)):
            if isinstance(found, KeptAside):
                kept_aside.append(found)
            else:
                notices += found.notices
                writer.write(found.example)
                # While the bytes are at hand, so that nobody has to read them again to know which data this is.
                digest.update(len(found.example).to_bytes(8, "little") + found.example)
    tf.io.gfile.rename(unfinished, os.path.join(output_dir, plan.path), overwrite=True)
    write_text(os.path.join(work_dir, plan.report_name), as_lines(kept_aside))
    write_text(os.path.join(work_dir, plan.notices_name), as_lines(notices))
    write_text(os.path.join(work_dir, plan.digest_name), digest.hexdigest())


def read_report(plan: ShardPlan, work_dir: str) -> list[KeptAside]:
    """Reads the records that `convert_shard` skipped.

    Raises:
        tf.errors.NotFoundError: if the shard was not finished.
    """
    return _read_list(os.path.join(work_dir, plan.report_name))


def read_notices(plan: ShardPlan, work_dir: str) -> list[KeptAside]:
    """Reads what `convert_shard` noticed.

    Raises:
        tf.errors.NotFoundError: if the shard was not finished.
    """
    return _read_list(os.path.join(work_dir, plan.notices_name))


def _read_list(path: str) -> list[KeptAside]:
    with tf.io.gfile.GFile(path) as file:
        return [KeptAside(**json.loads(line)) for line in file]


def read_digest(plan: ShardPlan, work_dir: str) -> str:
    """Reads the SHA-256 of the lengths and bytes of the records that `convert_shard` wrote, in their order.

    Raises:
        tf.errors.NotFoundError: if the shard was not finished.
    """
    with tf.io.gfile.GFile(os.path.join(work_dir, plan.digest_name)) as file:
        return file.read()


class ConvertShards(beam.PTransform):
    """Writes the shards of `plans`; see `convert_shard`."""

    def __init__(
        self,
        plans: Sequence[ShardPlan],
        categories: CategoryTable,
        output_dir: str,
        work_dir: str,
        encode: Encoder = encode_plain,
    ):
        super().__init__()
        self._plans = list(plans)
        self._arguments = (categories, output_dir, work_dir, encode)

    def expand(self, pipeline):
        """Connects the steps."""
        return (
            pipeline
            | "ListShards" >> beam.Create(self._plans)
            | "SpreadShards" >> beam.Reshuffle()
            | "ReadCheckAndWrite" >> beam.Map(convert_shard, *self._arguments)
        )


def _convert(
    plan: ShardPlan, categories: CategoryTable, encode: Encoder, ref: ImageRef | KeptAside
) -> _Converted | KeptAside:
    """Returns one photo's serialized Example, or why there is none."""

    def convert(ref: ImageRef) -> _Converted:
        record, segment_ids, notices = read_checked_record(ref, plan.source, categories)
        encoded = encode(record, ref, segment_ids)
        example = encoded.example.SerializeToString(deterministic=True)
        return _Converted(example, [_about(plan, ref, *notice) for notice in (*notices, *encoded.notices)])

    return or_kept_aside(plan, ref, convert)


def or_kept_aside(plan: ShardPlan, ref: ImageRef | KeptAside, read: Callable[[ImageRef], _Out]) -> _Out | KeptAside:
    """Returns what `read` makes of a photo, or why the photo is skipped, whatever goes wrong with it.

    Raises:
        OSError: if the machine or the store is at fault, and not the record; the same holds for other such errors.
    """
    if isinstance(ref, KeptAside):
        return ref
    try:
        return read(ref)
    except BadRecordError as error:
        return _about(plan, ref, error.reason, error.detail)
    except UnreadableFileError as error:
        return _about(plan, ref, "unreadable_file", str(error))
    except _NOT_OF_THE_RECORD:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:500]
        return _about(plan, ref, "unexpected_error", f"{type(error).__name__}: {words}")


def _about(plan: ShardPlan, ref: ImageRef, reason: str, detail: str) -> KeptAside:
    return KeptAside(split=plan.split, image_id=ref.image_id, file_name=ref.file_name, reason=reason, detail=detail)


def in_threads(function: Callable[[_In], _Out], values: Iterable[_In]) -> Iterator[_Out]:
    """Maps in a few threads, results in order; never more than a few values and results are held.

    Decoders run outside of Python's lock, and a file in an object store takes long to arrive.
    """
    with concurrent.futures.ThreadPoolExecutor(_READING_THREADS) as pool:
        pending: collections.deque[concurrent.futures.Future[_Out]] = collections.deque()
        for value in values:
            pending.append(pool.submit(function, value))
            if len(pending) > 2 * _READING_THREADS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
