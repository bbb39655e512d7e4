"""What a bulk prediction has to do and what of it is done: a list of photos, cut into shards, in a folder.

`photos.txt` lists the photos, `plan.json` says how they are cut and which model predicts. A shard is done when its file
is there, because files appear whole; so the same command continues an interrupted run. Knows no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Sequence

PHOTOS_FILE = "photos.txt"
PLAN_FILE = "plan.json"
SUMMARY_FILE = "summary.json"


class OtherPlanError(ValueError):
    """The folder belongs to another prediction."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """A run of lines of the list.

    Attributes:
        number: Its place among the shards.
        num_shards: How many there are.
        offset: Where its first line begins in the list, in bytes.
        num_photos: How many lines are its.
    """

    number: int
    num_shards: int
    offset: int
    num_photos: int

    @property
    def stem(self) -> str:
        """Name of its files, without suffix."""
        return f"predictions-{self.number:05d}-of-{self.num_shards:05d}"


def make_plan(output_dir: str, photos: Iterable[str], photos_per_shard: int, model_hash: str) -> list[Shard]:
    """Writes list and plan, or finds that they are there already.

    Args:
        output_dir: Made where it does not exist.
        photos: Paths or addresses, one photo each.
        photos_per_shard: How many photos go into one file.
        model_hash: Says which model predicts.

    Returns:
        All shards.

    Raises:
        ValueError: if there is no photo, or a name has a line break.
        OtherPlanError: if the folder holds the plan of another list, cut or model.
    """
    if photos_per_shard < 1:
        raise ValueError(f"`photos_per_shard` must be positive. Received: {photos_per_shard}")
    os.makedirs(output_dir, exist_ok=True)
    offsets, digest, num_photos, position = [], hashlib.sha256(), 0, 0
    unfinished = pathlib.Path(output_dir, f"{PHOTOS_FILE}.unfinished")
    with unfinished.open("wb") as file:
        for photo in photos:
            if "\n" in photo:
                raise ValueError(f"A photo's name must be one line. Received: {photo!r}")
            if num_photos % photos_per_shard == 0:
                offsets.append(position)
            line = f"{photo}\n".encode()
            digest.update(line)
            position += file.write(line)
            num_photos += 1
    if not num_photos:
        raise ValueError("`photos` must name at least one photo.")
    plan = {
        "photos_sha256": digest.hexdigest(),
        "num_photos": num_photos,
        "photos_per_shard": photos_per_shard,
        "model_sha256": model_hash,
    }
    plan_path = pathlib.Path(output_dir, PLAN_FILE)
    if plan_path.exists() and (found := json.loads(plan_path.read_text("utf-8"))) != plan:
        unfinished.unlink()
        differing = sorted(name for name in plan if found.get(name) != plan[name])
        raise OtherPlanError(f"{output_dir} holds another prediction; it differs in {differing}. Name another folder.")
    unfinished.rename(unfinished.with_name(PHOTOS_FILE))
    plan_path.write_text(json.dumps(plan), encoding="utf-8")
    sizes = [min(photos_per_shard, num_photos - start) for start in range(0, num_photos, photos_per_shard)]
    cut = zip(offsets, sizes, strict=True)
    return [Shard(number, len(sizes), offset, size) for number, (offset, size) in enumerate(cut)]


def open_shards(output_dir: str, shards: Sequence[Shard]) -> list[Shard]:
    """Returns the shards that are not done yet."""
    return [shard for shard in shards if not os.path.exists(os.path.join(output_dir, f"{shard.stem}.tfrecord"))]


def photos_of(output_dir: str, shard: Shard) -> list[str]:
    """Returns the photos of one shard."""
    with open(os.path.join(output_dir, PHOTOS_FILE), encoding="utf-8", newline="\n") as file:
        file.seek(shard.offset)
        return [file.readline().removesuffix("\n") for _ in range(shard.num_photos)]


def summarize(output_dir: str, shards: Sequence[Shard]) -> dict[str, int]:
    """Sums the counts of all shards into `summary.json`.

    Raises:
        FileNotFoundError: if a shard is not done.
    """
    total = {"photos": 0, "refused": 0}
    for shard in shards:
        counts = json.loads(pathlib.Path(output_dir, f"{shard.stem}.json").read_text("utf-8"))
        total = {name: total[name] + counts[name] for name in total}
    pathlib.Path(output_dir, SUMMARY_FILE).write_text(json.dumps(total), encoding="utf-8")
    return total
