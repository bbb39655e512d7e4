"""Builds the data folder of a retraining from a new span, earlier spans and the fixed photos.

Training uses every train photo of the new span, and enough photos of earlier spans to make up `history_share` of all. A
hash draws these, so the draw can be repeated and differs between spans. Evaluation uses the `fixed` photos, which stay
the same in every run, and the new span's own (`new`); the photo's folder separates them into slices. The SHA-256 of its
file identifies a photo: an evaluation photo is never trained on, and the newest span's annotations of a photo replace
older ones. Spans must be in COCO's panoptic layout and have the same categories. Records that cannot be used are left
out here, because the validation of the span has already counted them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from components.coco_example_gen.data_manifest import MANIFEST_FILE, write_manifest
from components.coco_example_gen.records.references import id_of
from components.panoptic_predictor.image_attributes import MAX_TEXT_BYTES
from maskformer_model import coco_schema
from maskformer_model.categories import CategoryTable, TableMatch, compare_categories

TRAIN, VAL = "train2017", "val2017"
FIXED, NEW = "fixed", "new"
MIX_FILE = "mix.json"
_MAX_NAME_BYTES = MAX_TEXT_BYTES - len(f"{FIXED}/")


class OtherDataError(ValueError):
    """A span that cannot be mixed with the others: another layout, other categories."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A folder in COCO's panoptic layout.

    Attributes:
        name: The name of the folder that its photos get in the mix, such as `span-3`.
        path: The folder's path.
        manifest: The SHA-256 of each file by path.
    """

    name: str
    path: str
    manifest: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photo:
    """One photo with its annotation.

    Attributes:
        source: The folder that it comes from.
        path: The path of the photo, below the source.
        png_path: The path of its panoptic PNG, below the source.
        sha256: The SHA-256 of the photo's file.
        image: The photo's entry in the json.
        annotation: The entry of its segments in the json.
    """

    source: Source
    path: str
    png_path: str
    sha256: str
    image: Mapping[str, Any]
    annotation: Mapping[str, Any]


def check_categories(span_path: str, known_path: str) -> None:
    """Raises an error if a span's classes are not those that the models were trained for. Their order is free.

    Args:
        span_path: The span's folder.
        known_path: A folder with the classes that the models know.

    Raises:
        OtherDataError: if they differ; it names them.
    """
    known = _categories(known_path, VAL)
    for split in (VAL, TRAIN):
        _require_categories(known, span_path, split)


def _categories(path: str, split: str) -> CategoryTable:
    try:
        return CategoryTable.from_coco(_read_panoptic_json(path, split)["categories"], needs_isthing=True)
    except (ValueError, TypeError) as error:
        raise OtherDataError(f"its categories in panoptic_{split}.json are not usable: {error}") from error


def _require_categories(known: CategoryTable, path: str, split: str) -> None:
    # Segments name their categories by id, so another order of the list changes nothing in a mix.
    match, words = compare_categories(known, _categories(path, split), "before", "now")
    if match == TableMatch.OTHER:
        raise OtherDataError(f"its classes in panoptic_{split}.json are others: {words}")


def pin_eval_photos(target: str, source: Source) -> None:
    """Copies a folder's validation split, so that it stays the same if the folder changes.

    Args:
        target: The new folder, which appears whole or not at all, with a manifest.
        source: The folder whose photos judge every later run.

    Raises:
        OtherDataError: if there are none.
    """
    from tfx.dsl.io import fileio

    places = (f"{VAL}/", f"annotations/panoptic_{VAL}", f"panoptic_{VAL}/")
    names = [name for name in source.manifest if name.startswith(places) and _can_be_copied(f"{source.path}/{name}")]
    if not _photos(source, VAL):
        raise OtherDataError("it has no photos to evaluate on")
    unfinished = f"{target}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    for name in names:
        os.makedirs(os.path.dirname(f"{unfinished}/{name}"), exist_ok=True)
        fileio.copy(f"{source.path}/{name}", f"{unfinished}/{name}")
    write_manifest(f"{unfinished}/{MANIFEST_FILE}", {name: source.manifest[name] for name in names})
    os.rename(unfinished, target)


def build_mix(
    target: str, new: Source, history: Sequence[Source], fixed: Source, *, history_share: float
) -> dict[str, Any]:
    """Writes the mix's folder, whole or not at all; replaces an earlier one of the same name.

    Args:
        target: The mix's folder, local.
        new: The new span.
        history: Earlier spans, oldest first.
        fixed: The folder of the fixed photos; its validation split is used.
        history_share: The share of the train photos that comes from earlier spans, 0..1, as far as they suffice.

    Returns:
        The number of photos by source, for `train` and `eval`.

    Raises:
        OtherDataError: if a source is not in COCO's panoptic layout, or of other categories.
        OSError: if a file cannot be copied.
    """
    judged = {photo.sha256: (photo, FIXED) for photo in _photos(fixed, VAL)}
    for photo in _photos(new, VAL):
        judged.setdefault(photo.sha256, (photo, NEW))
    learnt = {photo.sha256: (photo, photo.source.name) for photo in _photos(new, TRAIN) if photo.sha256 not in judged}
    wanted = round(len(learnt) * history_share / (1 - history_share))
    earlier = {photo.sha256: photo for source in history for photo in _photos(source, TRAIN)}
    left = {key: photo for key, photo in earlier.items() if key not in learnt and key not in judged}
    salt = "".join(sorted(learnt))
    drawn = sorted(left, key=lambda key: hashlib.sha256(f"{salt}{key}".encode()).digest())[:wanted]
    learnt |= {key: (left[key], left[key].source.name) for key in sorted(drawn)}

    unfinished = f"{target}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    # The order of the fixed photos' list, in which every model has learnt; a span may list the same in another one.
    known = _categories(fixed.path, VAL)
    for source, split in ((new, VAL), (new, TRAIN), *((source, TRAIN) for source in history)):
        _require_categories(known, source.path, split)
    categories = known.to_coco()
    counts = {
        "train": _write_split(unfinished, TRAIN, learnt.values(), categories),
        "eval": _write_split(unfinished, VAL, judged.values(), categories),
    }
    with open(os.path.join(unfinished, MIX_FILE), "w", encoding="utf-8") as file:
        json.dump(counts, file, indent=1)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(unfinished, target)
    return counts


def _photos(source: Source, split: str) -> list[Photo]:
    """Returns the usable photos of a split, by file name."""
    document = _read_panoptic_json(source.path, split)
    entries: dict[str | None, list[Any]] = {}
    for entry in document["annotations"]:
        entries.setdefault(id_of(entry, "image_id"), []).append(entry)
    photos = []
    for image in document["images"]:
        found = entries.get(id_of(image, "id"), []) if _is_usable(image) else []
        if len(found) == 1 and isinstance(found[0].get("file_name"), str):
            photo = _photo(source, split, image, found[0])
            if photo is not None:
                photos.append(photo)
    return sorted(photos, key=lambda photo: photo.path)


def _is_usable(image: Any) -> bool:
    try:
        return bool(coco_schema.image_entry(image))
    except coco_schema.FieldError:
        return False


def _photo(source: Source, split: str, image: Mapping[str, Any], annotation: Mapping[str, Any]) -> Photo | None:
    path, png = f"{split}/{image['file_name']}", f"panoptic_{split}/{annotation['file_name']}"
    png_path = next((name for name in (f"annotations/{png}", png) if name in source.manifest), None)
    # No manifest has a name with `..`, so nothing outside of the folders is read or written.
    if path not in source.manifest or png_path is None:
        return None
    if not all(_can_be_copied(f"{source.path}/{name}") for name in (path, png_path)):
        return None
    sha256 = source.manifest[path]
    return Photo(source=source, path=path, png_path=png_path, sha256=sha256, image=image, annotation=annotation)


def _can_be_copied(path: str) -> bool:
    """Returns whether a file is no pipe and no link to nothing; in an object store there are none."""
    return "://" in path or os.path.isfile(path)


def _read_panoptic_json(path: str, split: str) -> dict[str, Any]:
    from tfx.dsl.io import fileio

    name = f"annotations/panoptic_{split}.json"
    if not fileio.exists(f"{path}/{name}"):
        raise OtherDataError(f"it is not in COCO's panoptic layout: {name} is not there")
    with fileio.open(f"{path}/{name}", "rb") as file:
        try:
            document = json.loads(file.read())
            return {key: coco_schema.list_field(document, key) for key in ("images", "annotations", "categories")}
        except (ValueError, AttributeError, RecursionError) as error:
            raise OtherDataError(f"{name} is not a COCO panoptic json: {error}") from error


def _write_split(
    target: str, split: str, chosen: Iterable[tuple[Photo, str]], categories: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    images, annotations, counts = [], [], Counter[str]()
    png_dir = f"{target}/annotations/panoptic_{split}"
    for folder in (f"{target}/{split}", png_dir):
        os.makedirs(folder, exist_ok=True)
    for photo, folder in chosen:
        counts[folder] += 1
        image_id = f"{folder}-{photo.image['id']}"
        name, png = f"{folder}/{_short_name(photo)}", f"{folder}/{photo.annotation['file_name']}"
        images.append({**photo.image, "id": image_id, "file_name": name})
        annotations.append({**photo.annotation, "image_id": image_id, "file_name": png})
        _bring(f"{photo.source.path}/{photo.path}", f"{target}/{split}/{name}")
        _bring(f"{photo.source.path}/{photo.png_path}", f"{png_dir}/{png}")
    document = {"images": images, "annotations": annotations, "categories": list(categories)}
    with open(f"{target}/annotations/panoptic_{split}.json", "w", encoding="utf-8") as file:
        json.dump(document, file)
    return dict(counts)


def _short_name(photo: Photo) -> str:
    """Returns a photo's name without folders of its own: the gate's slices are folders, and need names to be short."""
    name = photo.image["file_name"]
    if "/" not in name and len(name.encode()) <= _MAX_NAME_BYTES:
        return name
    return photo.sha256[:16] + os.path.splitext(name)[1][:8]


def _bring(path: str, target: str) -> None:
    """Links a local file if possible, and copies it otherwise.

    Nothing is written into a file that is there: it may be a link to a span's own.

    Raises:
        FileExistsError: if the target is another local file.
    """
    from tfx.dsl.io import fileio

    os.makedirs(os.path.dirname(target), exist_ok=True)
    if "://" not in path:
        try:
            os.link(path, target)
            return
        except FileExistsError:
            if os.path.samefile(path, target):
                return  # Two photos may share a panoptic PNG.
            raise
        except OSError:
            pass  # Another file system, or one without links: the copy below raises if anything is wrong.
    fileio.copy(path, f"{target}.part", overwrite=True)
    os.replace(f"{target}.part", target)
