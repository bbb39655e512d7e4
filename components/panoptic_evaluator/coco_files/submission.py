"""Predicts the photos of a COCO folder with a SavedModel, into the format of COCO's panoptic challenge.

A Beam step predicts a block of photos. It writes the block's PNGs and one file of annotations, whole or not at all, so
a repeated block replaces its files. At the end the blocks become one `predictions.json`.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import tensorflow as tf

from components.panoptic_evaluator.coco_files.coco_json import leaves_folder, read_panoptic_json
from components.panoptic_predictor import serving_model
from components.panoptic_predictor.prediction_step import require_finite_scores
from components.panoptic_predictor.serving_model import ServedAnswer
from components.panoptic_predictor.shared_model import shared_model
from components.whole_files import whole_file, write_text
from maskformer_model.categories import CategoryTable
from maskformer_model.coco_schema import shown, whole_of_text
from maskformer_model.data import panoptic_png
from maskformer_model.data.photo_files import refusal

_PHOTOS_PER_BLOCK = 16
_PNG_NAME = "png_name"  # Beside the fields of COCO's `images`.


class PhotoBlock(NamedTuple):
    """A block of photos of the truth's json: entries of its `images`, and the block's number."""

    number: int
    images: list[dict[str, Any]]


def write_submission(
    model_dir: str, truth_json: str, photos_dir: str, predictions_json: str, num_workers: int = 1
) -> None:
    """Predicts every annotated photo of a COCO panoptic json.

    Args:
        model_dir: The SavedModel.
        truth_json: The COCO panoptic json that lists the photos.
        photos_dir: The folder of the photos.
        predictions_json: The json to write, with the PNGs in the folder of the same name; must not exist.
        num_workers: The number of processes; each loads the model.

    Raises:
        FileNotFoundError: if json, model or a photo is missing.
        FileExistsError: if there are predictions already.
        ValueError: if the model knows other classes than the json, there is no photo, or a photo is damaged.
    """
    document = read_panoptic_json(pathlib.Path(truth_json))
    try:
        categories = CategoryTable.from_coco(document.get("categories") or [], needs_isthing=True)
    except ValueError as error:
        raise ValueError(f"{truth_json}: {error}") from error
    difference = serving_model.difference_of_categories(serving_model.categories_of_model(model_dir), categories)
    if difference:
        raise ValueError(f"Model and data must have the same classes in the same order, but {difference}.")
    images = _images_to_predict(document, truth_json)
    folder = pathlib.Path(predictions_json).with_suffix("")
    _require_no_predictions(predictions_json, folder)
    folder.mkdir(parents=True, exist_ok=True)
    blocks = [
        PhotoBlock(start // _PHOTOS_PER_BLOCK, images[start : start + _PHOTOS_PER_BLOCK])
        for start in range(0, len(images), _PHOTOS_PER_BLOCK)
    ]
    with beam.Pipeline(argv=_beam_args(num_workers)) as pipeline:
        (
            pipeline
            | "ListBlocks" >> beam.Create(blocks)
            | "SpreadBlocks" >> beam.Reshuffle()
            | "PredictBlock" >> beam.ParDo(PredictBlock(model_dir, photos_dir, str(folder)))
        )
    parts = sorted(folder.glob("part-*.json"))
    annotations = [entry for part in parts for entry in json.loads(part.read_text(encoding="utf-8"))]
    images = [{key: value for key, value in image.items() if key != _PNG_NAME} for image in images]
    all_of_it = {"images": images, "annotations": annotations, "categories": categories.to_coco()}
    write_text(predictions_json, json.dumps(all_of_it))
    for part in parts:
        part.unlink()


def _require_no_predictions(predictions_json: str, folder: pathlib.Path) -> None:
    rule = "Predictions must go where there are none"
    if os.path.exists(predictions_json):
        raise FileExistsError(f"{rule}. Found: {predictions_json}")
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(
            f"{rule}. Found files in {folder} but no {predictions_json}, as an earlier try leaves them that did not "
            "finish. Remove that folder and start again, or choose another place."
        )


def _images_to_predict(document: dict[str, Any], truth_json: str) -> list[dict[str, Any]]:
    """The annotated images, each with the name of the PNG that is written for it: unique, and inside of the folder."""
    annotated = {annotation["image_id"] for annotation in document["annotations"]}
    images = [image for image in document["images"] if image["id"] in annotated]
    if not images:
        raise ValueError(
            f"{truth_json}: its `images` must list an annotated image to predict. Received none of "
            f"{len(annotated)} that are annotated"
        )
    for image in images:
        name = image.get("file_name")
        if not isinstance(name, str) or not name or leaves_folder(name):
            rule = "`file_name` must name a photo below the photos' folder"
            raise ValueError(f"{truth_json}: {rule}. Received for image {image['id']}: {shown(name)}")
    names = png_names([image["file_name"] for image in images])
    return [image | {"id": _as_number(image["id"]), _PNG_NAME: names[image["file_name"]]} for image in images]


def _as_number(image_id: str) -> int | str:
    """Returns the number that an id is, as COCO's server wants it, or the id where it is a name."""
    number = whole_of_text(image_id)
    return number if number is not None and str(number) == image_id else image_id


def png_names(file_names: Sequence[str]) -> dict[str, str]:
    """The PNG of each photo: its name with another ending, or with a second one where two photos differ in that alone.

    Raises:
        ValueError: if two photos would get the same PNG all the same.
    """
    stems = {name: os.path.splitext(os.path.normpath(name))[0] for name in file_names}
    times = Counter(stems.values())
    names = {name: f"{stem if times[stem] == 1 else os.path.normpath(name)}.png" for name, stem in stems.items()}
    if len(names) < len(file_names) or len(set(names.values())) < len(names):
        repeated = [name for name, count in Counter([*file_names, *names.values()]).items() if count > 1]
        raise ValueError(f"`file_name` of every image must differ from the others'. Received twice: {repeated[:5]}")
    return names


class PredictBlock(beam.DoFn):
    """Predicts the photos of one block and writes their PNGs and annotations."""

    def __init__(self, model_dir: str, photos_dir: str, output_dir: str):
        self._model_dir = model_dir
        self._photos_dir = photos_dir
        self._output_dir = output_dir

    def setup(self):
        # Once per worker process, whatever the number of its threads.
        self._model = shared_model(self._model_dir)

    def process(self, block: PhotoBlock) -> Iterator[int]:
        """Yields the number of photos that were written."""
        annotations = []
        for image in block.images:
            photo_path = pathlib.Path(self._photos_dir, image["file_name"])
            try:
                [result] = self._model.predict([photo_path.read_bytes()])
            except tf.errors.InvalidArgumentError as error:
                raise ValueError(f"The model must be able to read {photo_path}. {refusal(error.message)}") from error
            name = image[_PNG_NAME]
            require_finite_scores(result, f"{image['file_name']} (id {image['id']})")
            path = os.path.join(self._output_dir, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with whole_file(path) as temporary:
                pathlib.Path(temporary).write_bytes(result.panoptic_png)
            annotations.append(annotation_of(result, image["id"], name))
        write_text(os.path.join(self._output_dir, f"part-{block.number:08d}.json"), json.dumps(annotations))
        yield len(annotations)


def annotation_of(result: ServedAnswer, image_id: int | str, file_name: str) -> dict[str, Any]:
    """Returns an entry of `annotations` as COCO's panoptic challenge takes it, with the scores besides.

    Areas and boxes are counted in the PNG that is written, so that the two files agree.
    """
    ids, areas_px, boxes_px = panoptic_png.segment_extents(panoptic_png.decode_panoptic_png(result.panoptic_png))
    place = {segment_id: index for index, segment_id in enumerate(ids.tolist())}
    return {
        "image_id": image_id,
        "file_name": file_name,
        "segments_info": [
            {
                "id": segment.id,
                "category_id": segment.category_id,
                "area": int(areas_px[place[segment.id]]),
                "bbox": boxes_px[place[segment.id]].tolist(),
                "score": segment.score,
            }
            for segment in result.segments
        ],
    }


def _beam_args(num_workers: int) -> Sequence[str]:
    args = ["--runner=FnApiRunner", f"--direct_num_workers={num_workers}"]
    return args if num_workers == 1 else [*args, "--direct_running_mode=multi_processing"]
