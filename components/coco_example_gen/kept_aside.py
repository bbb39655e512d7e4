"""Records that are kept aside: named reasons, one json line per record, and the share that stops an ingestion.

| reason                  | meaning                                                                    |
|-------------------------|----------------------------------------------------------------------------|
| malformed_annotation    | an entry of the json lacks something, or it has the wrong type             |
| missing_annotation      | a photo of the json has no segments                                        |
| repeated_annotation     | a photo of the json has segments twice                                     |
| repeated_image_id       | an earlier photo of the json has the same id                               |
| unknown_image           | segments of a photo that the json does not list                            |
| bad_file_name           | a file name that is absolute or leaves the data folder: it is not opened   |
| missing_photo           | no such file                                                               |
| ambiguous_photo         | more than one of the photos' folders has it                                |
| not_an_image            | the photo is neither JPEG nor PNG                                          |
| too_large               | more pixels than are decoded                                               |
| size_mismatch           | photo, panoptic PNG or label PNG are not as large as they should be        |
| exif_rotated            | the json has the size of the photo as viewers turn it, not as it is stored |
| damaged_photo           | cut off or otherwise impossible to decode                                  |
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
| malformed_polygon       | fewer than three points, half a point, or no numbers                       |
| polygon_outside_image   | an object's polygons lie outside of the photo                              |
| rle_size_mismatch       | run lengths of another size, or that do not add up to it                   |
| empty_segment           | an object covers no pixel                                                  |
| hidden_segment          | other objects cover all of an object                                       |
| too_many_segments       | more than 255, where 8-bit masks are asked for                             |
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence


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
    """One record that was kept aside.

    Attributes:
        split: "train" or "eval".
        image_id: The image's id in the json, as text.
        file_name: The file name of the photo as the json gives it; empty if it gives none.
        reason: A reason from the module's table.
        detail: a sentence for people.
    """

    split: str
    image_id: str
    file_name: str
    reason: str
    detail: str

    def to_json(self) -> str:
        """One line of the list of what was kept aside, without the line's end."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


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
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(e.reason for e in kept_aside).most_common())
    first = f" The first: {kept_aside[0].to_json()}." if kept_aside else ""
    raise TooManyKeptAsideError(
        f"Of the records of split {split!r}, at most {max_share:.1%} may be kept aside (`max_kept_aside_share`), and "
        f"one must be left. Received: {len(kept_aside)} of {num_records} ({reasons or 'the split is empty'}).{first} "
        f"The whole list: {list_path}"
    )
