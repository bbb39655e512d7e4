"""Turns annotation files of any length into small files of references, one or more per shard.

The annotation files are read as streams, once for the names of the photos and once for what is said of them; of a photo
only its name and shard stay in memory (about 300 bytes). What is said goes into files beside the unfinished artifact,
so a worker needs the memory of one shard, however large the data set is, and no annotation crosses Beam's shuffle.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import os
import posixpath
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

import tensorflow as tf

from components.coco_example_gen.kept_aside import BadRecordError, KeptAside, UnreadPhoto
from components.coco_example_gen.layouts.class_folders import CLASSES_CODE, PHOTO_ENDINGS
from components.coco_example_gen.layouts.data_files import read_file, walk_files
from components.coco_example_gen.layouts.files import visible
from components.coco_example_gen.layouts.split_source import SplitSource
from components.coco_example_gen.records.categories_file import read_categories
from components.coco_example_gen.records.json_stream import stream_list
from components.coco_example_gen.records.references import ImageRef, id_of, make_ref
from maskformer_model import coco_schema
from maskformer_model.categories import CategoryTable

_IMAGES_PER_SHARD = 256  # About 50 MB of COCO photos: small enough to retry, large enough to read in one go.
_BUFFERED_CHARACTERS = 1 << 26
_IMAGE, _PANOPTIC, _OBJECT, _CAPTION, _TOO_DEEP = "image", "panoptic", "object", "caption", "too deep"
_PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """A record file to write.

    Attributes:
        split: The split of the Examples.
        index: The index of the shard among those of the split.
        num_shards: The number of shards of the split.
        path: the record file, relative to the output's folder.
        num_images: how many photos it is made of.
        reference_files: where `read_references` finds them.
        source: where the photos are.
    """

    split: str
    index: int
    num_shards: int
    path: str
    num_images: int
    reference_files: tuple[str, ...]
    source: SplitSource

    @property
    def report_name(self) -> str:
        """Returns the file name of the list of skipped records."""
        return f"{self.split}-{self.index:05d}.jsonl"

    @property
    def notices_name(self) -> str:
        """Returns the file name of the list of notices."""
        return f"{self.split}-{self.index:05d}.notices.jsonl"

    @property
    def digest_name(self) -> str:
        """Returns the file name of the hash of the records."""
        return f"{self.split}-{self.index:05d}.sha256"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """The plan of one split.

    Attributes:
        categories: The categories of the data set.
        shards: to be written.
        kept_aside: photos that no reference could be made of.
        num_records: The number of all records, with the skipped ones.
        notices: what was noticed of other entries of the annotation files.
    """

    categories: CategoryTable
    shards: tuple[ShardPlan, ...]
    kept_aside: tuple[KeptAside, ...]
    num_records: int
    notices: tuple[KeptAside, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """The choice of photos and of record files for one split.

    Attributes:
        split: The name for shards and for skipped records.
        max_images: the first so many by file name; 0 takes all.
        num_shards: how many record files; 0 chooses.
        keep_order: photos stay in the json's order instead of that of their file names.
        allow_empty_shards: `num_shards` is kept even where there are fewer photos.
        shard_path: record file of a shard, from its number and the number of shards.
    """

    split: str
    max_images: int = 0
    num_shards: int = 0
    keep_order: bool = False
    allow_empty_shards: bool = False
    shard_path: Callable[[int, int], str] | None = None

    def path(self, index: int, num_shards: int) -> str:
        """Returns the record file of a shard, by default as TFX names them."""
        if self.shard_path:
            return self.shard_path(index, num_shards)
        return os.path.join(f"Split-{self.split}", f"data_tfrecord-{index:05d}-of-{num_shards:05d}")


def plan_split(request: SplitRequest, source: SplitSource, work_dir: str) -> SplitPlan:
    """Reads the annotation files of a split, and writes the references of each shard to `work_dir`.

    Photos are dealt out to shards like cards, so that every shard is a fair sample.

    Args:
        request: what to take.
        source: where it is.
        work_dir: a folder, which must exist.

    Raises:
        FileNotFoundError: if an annotation file is missing.
        ValueError: if one is not whole json or lacks a list, or the categories are not usable.
    """
    categories = read_categories(source)
    kept_aside: list[KeptAside] = []
    notices: list[KeptAside] = []
    names, others = _list_photos(request, source, kept_aside, notices)
    count = num_shards(len(names), request.num_shards, request.allow_empty_shards)
    place_of = {image_id: place for place, image_id in enumerate(names)}
    writer = _ReferenceWriter(work_dir, request.split, count)
    written: set[str] = set()
    for _, image in _images(source, []):
        # The first of two photos with one id is taken; `_list_photos` has kept the other aside.
        if isinstance(image, coco_schema.ImageEntry) and image.image_id in place_of and image.image_id not in written:
            written.add(image.image_id)
            place = place_of[image.image_id]
            writer.write(place % count, _IMAGE, image.image_id, (place, *image))
    for kind, path in _annotation_files(source):
        for entry in stream_list(path, "annotations"):
            image_id = id_of(entry, "image_id")
            if image_id in place_of:
                writer.write(place_of[image_id] % count, kind, image_id, entry)
            elif image_id not in others and kind in (_PANOPTIC, _OBJECT):
                notices.append(_orphan(request.split, entry, image_id))
    files = writer.close()
    shards = tuple(
        ShardPlan(
            split=request.split,
            index=index,
            num_shards=count,
            path=request.path(index, count),
            num_images=len(range(index, len(names), count)),
            reference_files=files[index],
            source=source,
        )
        for index in range(count)
    )
    return SplitPlan(
        categories=categories,
        shards=shards,
        kept_aside=tuple(kept_aside),
        num_records=len(names) + len(kept_aside),
        notices=tuple(notices),
    )


def num_shards(num_images: int, wanted: int, allow_empty: bool = False) -> int:
    """Returns the number of record files: `wanted`, or one per 256 photos; at least one, none empty unless allowed."""
    wanted = wanted or math.ceil(num_images / _IMAGES_PER_SHARD)
    return max(1, wanted if allow_empty else min(wanted, num_images))


def read_references(plan: ShardPlan) -> Iterator[ImageRef | KeptAside]:
    """Yields a shard's references in the order of its photos; one that could not be made is a skipped record."""
    found: dict[str, dict[str, list[Any]]] = {}
    for path in plan.reference_files:
        with tf.io.gfile.GFile(path, "rb") as file:
            for line in file.read().splitlines():
                kind, image_id, entry = json.loads(line)
                kinds = found.setdefault(image_id, collections.defaultdict(list))
                kinds[kind].append(entry)
    for kinds in sorted(found.values(), key=lambda kinds: kinds[_IMAGE][0][0]):
        [[_, image_id, file_name, size_px]] = kinds[_IMAGE]
        image = coco_schema.ImageEntry(image_id, file_name, None if size_px is None else (size_px[0], size_px[1]))
        try:
            if kinds[_TOO_DEEP]:
                raise BadRecordError("malformed_annotation", "an annotation is nested too deeply to be read")
            yield make_ref(image, kinds[_PANOPTIC], kinds[_OBJECT], kinds[_CAPTION], plan.source)
        except BadRecordError as error:
            yield KeptAside(
                split=plan.split, image_id=image_id, file_name=file_name, reason=error.reason, detail=error.detail
            )


def _list_photos(
    request: SplitRequest, source: SplitSource, kept_aside: list[KeptAside], notices: list[KeptAside]
) -> tuple[list[str], set[str]]:
    """Lists the ids of the photos to take, in their order, and of those left out by intention or fault."""
    photos: list[tuple[str, str]] = []
    seen: set[str] = set()
    unread: list[UnreadPhoto] = []
    for entry, image in _images(source, unread):
        image_id = id_of(entry, "id")
        if image_id is not None and not source.takes(image_id):
            seen.add(image_id)
        elif isinstance(image, coco_schema.FieldError):
            kept_aside.append(_keep_aside(request.split, entry, "malformed_annotation", str(image)))
            seen.update([] if image_id is None else [image_id])
        elif image.image_id in seen:
            detail = "an earlier photo of the json has the same `id`"
            kept_aside.append(_keep_aside(request.split, entry, "repeated_image_id", detail))
        else:
            seen.add(image.image_id)
            photos.append((image.file_name, image.image_id))
    for photo in unread:
        if photo.image_id and not source.takes(photo.image_id):
            continue
        entry = {"id": photo.image_id, "file_name": photo.file_name}
        found = kept_aside if photo.is_record else notices
        found.append(_keep_aside(request.split, entry, photo.reason, photo.detail))
    if source.photo_name_rule:
        photos = _with_own_photos(photos, request.split, source, kept_aside)
    if not request.keep_order:
        photos.sort()
    taken = [image_id for _, image_id in photos[: request.max_images or None]]
    return taken, seen.difference(taken)


def _with_own_photos(
    photos: list[tuple[str, str]], split: str, source: SplitSource, kept_aside: list[KeptAside]
) -> list[tuple[str, str]]:
    """Keeps photos aside whose names differ in their folders alone, if these are not there: all mean one file."""
    meant: dict[str, set[str]] = collections.defaultdict(set)
    for file_name, _ in photos:
        meant[source.photo_name(file_name)].add(file_name)
    shared = {name for names in meant.values() if len(names) > 1 for name in names}
    for file_name, image_id in photos:
        if file_name in shared:
            detail = f"other photos of the json, too, are called {source.photo_name(file_name)} without their folders"
            kept_aside.append(
                KeptAside(split=split, image_id=image_id, file_name=file_name, reason="ambiguous_photo", detail=detail)
            )
    return [(file_name, image_id) for file_name, image_id in photos if file_name not in shared]


def _images(
    source: SplitSource, unread: list[UnreadPhoto]
) -> Iterator[tuple[Any, coco_schema.ImageEntry | coco_schema.FieldError]]:
    """Yields the photos of a source as entries of a json's `images`, each with its content or what is wrong with it.

    What cannot be read, and files of a photos' folder that look like photos and are none of the layout's, are added to
    `unread`.
    """
    if source.image_file:
        for entry in stream_list(source.image_file, "images"):
            if isinstance(entry, UnreadPhoto):
                unread.append(entry)
                continue
            try:
                yield entry, coco_schema.image_entry(entry)
            except coco_schema.FieldError as error:
                yield entry, error
        return
    if source.label_code == CLASSES_CODE:
        yield from _labelled_photos(source, unread)
        return
    for path in walk_files(source.photo_dirs):
        name = posixpath.relpath(path, source.photo_dirs[0])
        if not path.lower().endswith(source.photo_suffix.lower()):
            if path.lower().endswith(_PHOTO_ENDINGS):
                unread.append(_other_file(name, source.photo_suffix))
            continue
        image_id = posixpath.basename(name)[: -len(source.photo_suffix)]
        yield {"id": image_id, "file_name": name}, coco_schema.ImageEntry(image_id, name, None)


def _labelled_photos(source: SplitSource, unread: list[UnreadPhoto]) -> Iterator[tuple[Any, coco_schema.ImageEntry]]:
    """Photos of a folder by their names without ending; those of a list, where there is one."""
    [folder] = source.photo_dirs
    files: dict[str, list[str]] = collections.defaultdict(list)
    for name in sorted(visible(tf.io.gfile.listdir(folder))):
        if folder == source.label_dir and name.lower().endswith(source.label_suffix.lower()):
            continue
        if name.lower().endswith(PHOTO_ENDINGS):
            files[posixpath.splitext(name)[0]].append(name)
        elif name.lower().endswith(_PHOTO_ENDINGS):
            unread.append(_other_file(name, "/".join(PHOTO_ENDINGS)))
    for stem in _listed_photos(source.list_file, files) if source.list_file else list(files):
        names = files.get(stem, [f"{stem}.jpg"])
        if len(names) > 1:
            detail = f"one label PNG has the photos {', '.join(names)}"
            unread.append(UnreadPhoto(image_id=stem, file_name=names[0], reason="ambiguous_photo", detail=detail))
            continue
        yield {"id": stem, "file_name": names[0]}, coco_schema.ImageEntry(stem, names[0], None)


def _listed_photos(path: str, known: Container[str]) -> list[str]:
    """The photos of a list, a line each; what follows a name, as in VOC's lists of one class, is not used."""
    try:
        text = (read_file(path) or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"A list of photos must be UTF-8 text. Received {path}: {error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [line if line in known else line.split()[0] for line in lines]


def _other_file(name: str, endings: str) -> UnreadPhoto:
    detail = f"the photos of this layout end in {endings}"
    return UnreadPhoto(file_name=name, reason="other_file", detail=detail, is_record=False)


def _annotation_files(source: SplitSource) -> list[tuple[str, str]]:
    files = [(_PANOPTIC, source.panoptic_file), (_OBJECT, source.object_file), (_CAPTION, source.caption_file)]
    return [(kind, path) for kind, path in files if path and (kind != _CAPTION or tf.io.gfile.exists(path))]


def _keep_aside(split: str, entry: Any, reason: str, detail: str, id_key: str = "id") -> KeptAside:
    values: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {}
    image_id, file_name = (_as_text(values.get(key, "")) for key in (id_key, "file_name"))
    return KeptAside(split=split, image_id=image_id, file_name=file_name, reason=reason, detail=detail)


def _as_text(value: Any) -> str:
    return coco_schema.whole_text(value) if isinstance(value, str) else coco_schema.shown(value)


def _orphan(split: str, entry: Any, image_id: str | None) -> KeptAside:
    if image_id is None:
        value = coco_schema.shown(entry.get("image_id") if isinstance(entry, Mapping) else entry)
        detail = f"`image_id` must be a whole number or text. Received: {value}"
    else:
        detail = f"no photo of the json has the id {image_id!r}"
    return _keep_aside(split, entry, "orphaned_annotation", detail, "image_id")


class _ReferenceWriter:
    """Collects lines by shard and writes them out whenever they have grown large; no file is ever appended to."""

    def __init__(self, work_dir: str, split: str, count: int):
        self._prefix = os.path.join(work_dir, f"references-{split}")
        self._lines: list[list[str]] = [[] for _ in range(count)]
        self._files: list[list[str]] = [[] for _ in range(count)]
        self._num_characters = 0

    def write(self, shard: int, kind: str, image_id: str, entry: Any) -> None:
        try:
            line = json.dumps((kind, image_id, entry))
        except RecursionError:
            line = json.dumps((_TOO_DEEP, image_id, kind))
        self._lines[shard].append(line)
        self._num_characters += len(line)
        if self._num_characters > _BUFFERED_CHARACTERS:
            self._flush()

    def close(self) -> list[tuple[str, ...]]:
        """Writes what is left; by shard: its files."""
        self._flush()
        return [tuple(files) for files in self._files]

    def _flush(self) -> None:
        for shard, lines in enumerate(self._lines):
            if lines:
                path = f"{self._prefix}-{shard:05d}-{len(self._files[shard]):03d}.jsonl"
                with tf.io.gfile.GFile(path, "w") as file:
                    file.write("\n".join(lines))
                self._files[shard].append(path)
                lines.clear()
        self._num_characters = 0
