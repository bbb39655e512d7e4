"""Records that are kept aside: named reasons, one json line per record, and the share that stops an ingestion."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections import Counter
from collections.abc import Iterable, Mapping

import tensorflow as tf


class Reason(enum.StrEnum):
    """Why a record is kept aside."""

    MALFORMED_ANNOTATION = "malformed_annotation"
    DUPLICATE_IMAGE_ID = "duplicate_image_id"
    MISSING_ANNOTATION = "missing_annotation"
    UNKNOWN_IMAGE = "unknown_image"
    PATH_OUTSIDE_FOLDER = "path_outside_folder"
    TOO_LARGE = "too_large"
    MISSING_PHOTO = "missing_photo"
    UNREADABLE_PHOTO = "unreadable_photo"
    UNSUPPORTED_PHOTO = "unsupported_photo"
    MISSING_PNG = "missing_png"
    UNREADABLE_PNG = "unreadable_png"
    SIZE_MISMATCH = "size_mismatch"
    UNKNOWN_CATEGORY = "unknown_category"
    IDS_DISAGREE = "ids_disagree"


class RecordError(ValueError):
    """One record cannot be used.

    Attributes:
        reason: of the named reasons.
        detail: a sentence for people.
    """

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self):
        return type(self), (self.reason, self.detail)


class TooManyKeptAsideError(ValueError):
    """More records are bad than the ingestion was told to bear."""


@dataclasses.dataclass(frozen=True, order=True)
class KeptAside:
    """One record that was kept aside.

    Attributes:
        split: "train" or "eval".
        file_name: of the photo as the annotation file gives it; empty if it gives none.
        image_id: of the annotation file, as text.
        reason: of the named reasons.
        detail: a sentence for people.
    """

    split: str
    file_name: str
    image_id: str
    reason: str
    detail: str


def write_kept_aside(records: Iterable[KeptAside], path: str) -> None:
    """Writes the records, sorted, one json object per line; the file appears as a whole."""
    unfinished = f"{path}.unfinished"
    with tf.io.gfile.GFile(unfinished, "w") as file:
        for record in sorted(records):
            file.write(json.dumps(dataclasses.asdict(record), ensure_ascii=False) + "\n")
    tf.io.gfile.rename(unfinished, path, overwrite=True)


def read_kept_aside(path: str) -> list[KeptAside]:
    """Reads what `write_kept_aside` wrote."""
    with tf.io.gfile.GFile(path) as file:
        return [KeptAside(**json.loads(line)) for line in file.read().splitlines()]


def check_kept_aside(
    kept_aside: list[KeptAside], num_records: Mapping[str, int], max_share: float, list_path: str
) -> None:
    """Fails where too many records of a split were kept aside.

    Args:
        kept_aside: what was kept aside.
        num_records: records per split, those that were kept aside among them.
        max_share: the largest share of a split's records that is borne, 0..1.
        list_path: where a person finds the whole list.

    Raises:
        TooManyKeptAsideError: if a split has more, or none is left of it.
    """
    per_split = Counter(record.split for record in kept_aside)
    for split, total in num_records.items():
        bad = per_split[split]
        if bad < total and bad <= max_share * total:
            continue
        reasons = Counter(record.reason for record in kept_aside if record.split == split)
        first = next((f"First: {record}. " for record in sorted(kept_aside) if record.split == split), "")
        raise TooManyKeptAsideError(
            f"At most {max_share:.1%} of a split's records may be kept aside (`max_kept_aside_share`), and not all. "
            f"Received for {split}: {bad} of {total} ({', '.join(f'{n} {reason}' for reason, n in reasons.items())}). "
            f"{first}All: {list_path}"
        )
