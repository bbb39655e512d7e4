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
from typing import Any

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
        ValueError: if there is no photo, a name has a line break or is no UTF-8, or the plan there is damaged.
        OtherPlanError: if the folder holds the plan of another list, cut or model.
    """
    if photos_per_shard < 1:
        raise ValueError(f"`photos_per_shard` must be positive. Received: {photos_per_shard}")
    os.makedirs(output_dir, exist_ok=True)
    unfinished = pathlib.Path(output_dir, f"{PHOTOS_FILE}.unfinished")
    try:
        offsets, num_photos, digest = _write_list(unfinished, photos, photos_per_shard)
        plan = {
            "photos_sha256": digest,
            "num_photos": num_photos,
            "photos_per_shard": photos_per_shard,
            "model_sha256": model_hash,
        }
        is_there = _require_same_plan(output_dir, plan)
        unfinished.rename(unfinished.with_name(PHOTOS_FILE))
    finally:
        unfinished.unlink(missing_ok=True)
    if not is_there:
        _write_whole(pathlib.Path(output_dir, PLAN_FILE), plan)
    sizes = [min(photos_per_shard, num_photos - start) for start in range(0, num_photos, photos_per_shard)]
    cut = zip(offsets, sizes, strict=True)
    return [Shard(number, len(sizes), offset, size) for number, (offset, size) in enumerate(cut)]


def _write_list(path: pathlib.Path, photos: Iterable[str], photos_per_shard: int) -> tuple[list[int], int, str]:
    """Writes the list; returns where each shard begins in it (bytes), the number of photos, and its SHA-256."""
    offsets: list[int] = []
    digest, num_photos, position = hashlib.sha256(), 0, 0
    with path.open("wb") as file:
        for photo in photos:
            if num_photos % photos_per_shard == 0:
                offsets.append(position)
            line = _line_of(photo)
            digest.update(line)
            position += file.write(line)
            num_photos += 1
    if not num_photos:
        raise ValueError("`photos` must name at least one photo.")
    return offsets, num_photos, digest.hexdigest()


def _line_of(photo: str) -> bytes:
    if "\n" in photo:
        raise ValueError(f"A photo's name must be one line. Received: {photo!r}")
    try:
        return f"{photo}\n".encode()
    except UnicodeEncodeError as error:
        rule = "A photo's name must be UTF-8. Rename the photo, or leave it out of the list"
        raise ValueError(f"{rule}. Received: {photo!r}") from error


def _require_same_plan(output_dir: str, plan: dict[str, Any]) -> bool:
    """Returns whether the folder has this plan already; False where it has none."""
    path = pathlib.Path(output_dir, PLAN_FILE)
    if not path.exists():
        return False
    try:
        found = _read_object(path)
    except ValueError as error:
        next_step = "Remove it if the folder belongs to the same model, list and photos per shard, else name another"
        raise ValueError(f"{path}: the plan is damaged. {next_step}. Received: {error}") from error
    if found != plan:
        differing = sorted(name for name in plan if found.get(name) != plan[name])
        raise OtherPlanError(f"{output_dir} holds another prediction; it differs in {differing}. Name another folder.")
    return True


def _read_object(path: pathlib.Path) -> dict[str, Any]:
    found = json.loads(path.read_text("utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"no json object but {type(found).__name__}")
    return found


def _write_whole(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes a json file, whole or not at all."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        unfinished.write_text(json.dumps(content), encoding="utf-8")
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)


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
        ValueError: if a shard's counts are damaged.
    """
    total = {"photos": 0, "refused": 0}
    for shard in shards:
        path = pathlib.Path(output_dir, f"{shard.stem}.json")
        try:
            counts = _read_object(path)
            total = {name: total[name] + int(counts[name]) for name in total}
        except (ValueError, KeyError, TypeError) as error:
            next_step = f"Remove {shard.stem}.tfrecord beside it and start again; its photos are predicted again"
            raise ValueError(f"{path}: the counts are damaged. {next_step}. Received: {error}") from error
    _write_whole(pathlib.Path(output_dir, SUMMARY_FILE), total)
    return total
