"""Records that are skipped, and findings that cost no record: each has a named reason and is a json line.

A skipped record is not in the Examples; too large a share of them stops an ingestion. `docs/ingest.md` has the same
tables.

| reason                  | meaning                                                                                    |
|-------------------------|--------------------------------------------------------------------------------------------|
| malformed_annotation    | an entry of the json lacks a field, or a field has the wrong type                          |
| missing_annotation      | a photo of the json has no segments                                                        |
| repeated_annotation     | the json lists the segments of a photo twice                                               |
| repeated_image_id       | an earlier photo of the json has the same id                                               |
| bad_file_name           | the file name is absolute or leaves the data folder; the file is not opened                |
| missing_photo           | no such file                                                                               |
| unreadable_file         | the file cannot be opened: a pipe, a circle of links, a name that is too long              |
| ambiguous_photo         | more than one file can be meant: by a name, by a label PNG, by a link of Label Studio      |
| not_an_image            | the photo is neither JPEG nor PNG                                                          |
| too_large               | the photo has more pixels than the limit for decoding                                      |
| size_mismatch           | the photo, panoptic PNG or label PNG does not have the expected size                       |
| exif_rotated            | the json has the size of the photo as viewers turn it, not as it is stored                 |
| damaged_photo           | the photo is truncated, partly overwritten, or cannot be decoded                           |
| missing_panoptic_png    | no such file                                                                               |
| damaged_panoptic_png    | the PNG is truncated or cannot be decoded                                                  |
| unsuitable_panoptic_png | the PNG is not 8-bit RGB, the only form that carries segment ids                           |
| segment_not_in_png      | the json lists an id that no pixel has, such as a segment without area                     |
| segment_not_in_json     | pixels have an id that the json does not list                                              |
| repeated_segment_id     | the json lists an id twice for one photo                                                   |
| unknown_category        | a segment has a category that the data set does not have                                   |
| missing_label_png       | no such file                                                                               |
| damaged_label_png       | the PNG is truncated or cannot be decoded                                                  |
| unsuitable_label_png    | a label PNG that is not grayscale or palette                                               |
| unknown_label           | a label PNG has a number to which the data set gives no meaning                            |
| empty_polygon           | an object has no polygon, or one without points                                            |
| malformed_polygon       | a polygon has fewer than three points, half a point, or no numbers, or is no list of lists |
| polygon_outside_image   | an object's polygons lie outside of the photo                                              |
| rle_size_mismatch       | the run lengths have another size, or do not add up to it                                  |
| area_mismatch           | the json's `area` is not the number of the segment's pixels                                |
| bbox_mismatch           | the json's `bbox` is not the box around the segment's pixels                               |
| hidden_segment          | other objects cover all of an object                                                       |
| too_many_segments       | the photo has more than 255 segments, but 8-bit masks are requested                        |
| unexpected_error        | any other error; the detail has it                                                         |

| notice                | meaning; the photo's record is written                                      |
|-----------------------|-----------------------------------------------------------------------------|
| orphaned_annotation   | segments, or an object, belong to a photo that the json does not list       |
| stray_polygon         | a polygon of fewer than three points beside a good one is left out          |
| object_without_pixels | an object that is too small to cover a pixel is left out                    |
| box_leaves_photo      | an object's box goes beyond the photo's edge                                |
| object_left_out       | the converter leaves an object out of the `image/object/` keys              |
| exif_orientation      | viewers turn or mirror the photo; the truth is for the stored pixels        |
| other_file            | a file among the photos has another ending, or is no json of labelme        |
| unlabeled_photo       | a task of Label Studio has no finished annotation, so its photo is left out |
| unread_region         | a region of Label Studio has no label, more than one, or no area            |
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class BadRecordError(ValueError):
    """The error of a record that cannot be used.

    Attributes:
        reason: A reason from the module's table.
        detail: A sentence for people.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class TooManyKeptAsideError(ValueError):
    """More records of a split are bad than the ingestion allows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptAside:
    """A record that was skipped, or a finding about a record.

    Attributes:
        split: "train" or "eval".
        image_id: The image's id in the json, as text.
        file_name: The file name of the photo as the json gives it; empty if it gives none.
        reason: A reason from the module's tables.
        detail: A sentence for people.
    """

    split: str
    image_id: str
    file_name: str
    reason: str
    detail: str

    def to_json(self) -> str:
        """Returns one line of the list, without the line's end."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


def count_reasons(entries: Iterable[KeptAside]) -> dict[str, int]:
    """Counts the entries of each reason, the most frequent first."""
    return dict(Counter(entry.reason for entry in entries).most_common())


def describe(counts: Mapping[str, int], list_path: str) -> str:
    """Returns the counts per reason and the list's path as text, or "none"."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    return f"{reasons} (listed in {list_path})" if reasons else "none"


def as_lines(entries: Iterable[KeptAside]) -> str:
    """Returns the text of a list's file."""
    return "".join(f"{entry.to_json()}\n" for entry in entries)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnreadPhoto:
    """A photo, or a file in the place of one, of which no reference can be made.

    Attributes:
        image_id: The photo's id as text; empty if it has none.
        file_name: The photo's file, or the file that should say it.
        reason: A reason from the module's tables.
        detail: A sentence for people.
        is_record: Whether it is a record that is skipped; otherwise it is only noticed.
    """

    image_id: str = ""
    file_name: str
    reason: str = "malformed_annotation"
    detail: str
    is_record: bool = True


class Notice(NamedTuple):
    """A finding about a photo whose record is written.

    Attributes:
        reason: A name from the module's table of notices.
        detail: A sentence for people.
    """

    reason: str
    detail: str


def check_share(
    split: str, kept_aside: Sequence[KeptAside], num_records: int, max_share: float, list_path: str
) -> None:
    """Fails if too many records of a split were skipped, or none is left.

    Args:
        split: The split's name.
        kept_aside: The split's skipped records.
        num_records: The number of all its records, with the skipped ones.
        max_share: The largest share that may be skipped, 0..1.
        list_path: The path of the whole list, for the message.

    Raises:
        TooManyKeptAsideError: If that is so. The message has the counts per reason, the first bad record and the
            list's path.
    """
    if len(kept_aside) <= max_share * num_records and len(kept_aside) < num_records:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in count_reasons(kept_aside).items())
    first = f" The first: {kept_aside[0].to_json()}." if kept_aside else ""
    raise TooManyKeptAsideError(
        f"Of the records of split {split!r}, at most {max_share:.1%} may be skipped (`max_kept_aside_share`), and "
        f"one must be left. Received: {len(kept_aside)} of {num_records} ({reasons or 'the split is empty'}).{first} "
        f"The whole list: {list_path}"
    )
