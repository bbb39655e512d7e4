"""Records that are skipped (kept aside) and things that are only noticed, by named reasons, a json line each.

A skipped record is not in the Examples; too large a share of them stops an ingestion.

| reason                  | meaning                                                                    |
|-------------------------|----------------------------------------------------------------------------|
| malformed_annotation    | an entry of the json lacks something, or it has the wrong type             |
| missing_annotation      | a photo of the json has no segments                                        |
| repeated_annotation     | a photo of the json has segments twice                                     |
| repeated_image_id       | an earlier photo of the json has the same id                               |
| bad_file_name           | a file name that is absolute or leaves the data folder: it is not opened   |
| missing_photo           | no such file                                                               |
| unreadable_file         | a file that cannot be opened: a pipe, a circle of links, too long a name   |
| ambiguous_photo         | more than one of the photos' folders has it                                |
| not_an_image            | the photo is neither JPEG nor PNG                                          |
| too_large               | more pixels than are decoded                                               |
| size_mismatch           | photo, panoptic PNG or label PNG are not as large as they should be        |
| exif_rotated            | the json has the size of the photo as viewers turn it, not as it is stored |
| damaged_photo           | cut off, overwritten in part, or otherwise impossible to decode            |
| missing_panoptic_png    | no such file                                                               |
| damaged_panoptic_png    | cut off or otherwise impossible to decode                                  |
| unsuitable_panoptic_png | not an 8-bit RGB PNG, which alone carries segment ids                      |
| segment_not_in_png      | the json lists an id that no pixel has, such as a segment without area     |
| segment_not_in_json     | pixels have an id that the json does not list                              |
| repeated_segment_id     | the json lists an id twice for one photo                                   |
| unknown_category        | a segment is of a category that the data set does not have                 |
| missing_label_png       | no such file                                                               |
| damaged_label_png       | cut off or otherwise impossible to decode                                  |
| unsuitable_label_png    | a label PNG that is not grayscale or palette                               |
| unknown_label           | a label PNG has a number that the data set gives no meaning                |
| empty_polygon           | an object has no polygon, or one without points                            |
| malformed_polygon       | fewer than three points, half a point, no numbers, or no list of lists     |
| polygon_outside_image   | an object's polygons lie outside of the photo                              |
| rle_size_mismatch       | run lengths of another size, or that do not add up to it                   |
| area_mismatch           | the json's `area` is not the number of the segment's pixels                |
| bbox_mismatch           | the json's `bbox` is not the box around the segment's pixels               |
| hidden_segment          | other objects cover all of an object                                       |
| too_many_segments       | more than 255, where 8-bit masks are asked for                             |
| unexpected_error        | anything else; the detail has the error                                    |

| notice                  | meaning; the photo's record is written                                     |
|-------------------------|----------------------------------------------------------------------------|
| orphaned_annotation     | segments, or an object, of a photo that the json does not list             |
| stray_polygon           | a polygon of fewer than three points beside a good one: left out           |
| object_without_pixels   | an object too small to cover a pixel: left out                             |
| box_leaves_photo        | an object's box goes beyond the photo's edge                               |
| exif_orientation        | viewers turn or mirror the photo; truth is taken for the stored pixels     |
| other_file              | a file among the photos whose name has another ending                      |
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class BadRecordError(ValueError):
    """One record cannot be used.

    Attributes:
        reason: A reason from the module's table.
        detail: a sentence for people.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class TooManyKeptAsideError(ValueError):
    """More records are bad than the ingestion was told to bear."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptAside:
    """One record that was skipped, or one thing that was noticed about a record.

    Attributes:
        split: "train" or "eval".
        image_id: The image's id in the json, as text.
        file_name: The file name of the photo as the json gives it; empty if it gives none.
        reason: A reason from the module's tables.
        detail: a sentence for people.
    """

    split: str
    image_id: str
    file_name: str
    reason: str
    detail: str

    def to_json(self) -> str:
        """One line of the list, without the line's end."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


def count_reasons(entries: Iterable[KeptAside]) -> dict[str, int]:
    """How many entries have each reason, the most frequent first."""
    return dict(Counter(entry.reason for entry in entries).most_common())


def describe(counts: Mapping[str, int], list_path: str) -> str:
    """Says counts per reason and where the list is, or "none"."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    return f"{reasons} (listed in {list_path})" if reasons else "none"


def as_lines(entries: Iterable[KeptAside]) -> str:
    """The text of a list's file."""
    return "".join(f"{entry.to_json()}\n" for entry in entries)


class Notice(NamedTuple):
    """One thing that was noticed about a photo whose record is written.

    Attributes:
        reason: of the module's table of notices.
        detail: a sentence for people.
    """

    reason: str
    detail: str


def check_share(
    split: str, kept_aside: Sequence[KeptAside], num_records: int, max_share: float, list_path: str
) -> None:
    """Fails where too many records of a split were kept aside, or none is left.

    Args:
        split: its name.
        kept_aside: what was kept aside of it.
        num_records: all its records, those kept aside among them.
        max_share: the largest share that is borne, 0..1.
        list_path: where a person finds the whole list.

    Raises:
        TooManyKeptAsideError: with counts per reason, the first bad record and the list's path.
    """
    if len(kept_aside) <= max_share * num_records and len(kept_aside) < num_records:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in count_reasons(kept_aside).items())
    first = f" The first: {kept_aside[0].to_json()}." if kept_aside else ""
    raise TooManyKeptAsideError(
        f"Of the records of split {split!r}, at most {max_share:.1%} may be kept aside (`max_kept_aside_share`), and "
        f"one must be left. Received: {len(kept_aside)} of {num_records} ({reasons or 'the split is empty'}).{first} "
        f"The whole list: {list_path}"
    )
