"""The report's pictures: which images it shows, and each of them as photo, truth and prediction.

Pictures are drawn at the size they are shown in, re-encoded as JPEG and embedded as text, so the report stays one file
of a few megabytes. What the prediction missed or added is marked. Reading the chosen records is left to
`report_sources`, the page around them to `report`.
"""

from __future__ import annotations

import base64
import dataclasses
import io
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from components.panoptic_evaluator.metrics import ImageScore
from maskformer_model import panoptic_png
from maskformer_model.categories import CategoryTable
from maskformer_model.segment_matching import Segment, match_segments
from maskformer_model.visualization import DrawnSegment, MatchState, draw_panoptic

if TYPE_CHECKING:  # Both import TensorFlow.
    from components.panoptic_evaluator.prediction_files import Prediction
    from maskformer_model.examples import ExampleRecord

MAX_SIDE_PX = 480
_JPEG_QUALITY = 82


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassTally:
    """How often a class occurs in one image.

    Attributes:
        name: the class's name.
        color: its colour as `#rrggbb`.
        num_true: true segments, without crowds.
        num_predicted: predicted segments.
    """

    name: str
    color: str
    num_true: int
    num_predicted: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class GalleryImage:
    """One image as the report shows it.

    Attributes:
        score: the image's numbers.
        width_px: width of each picture.
        height_px: height of each picture.
        photo: JPEG as a `data:` address.
        truth: the photo with the true segments over it, likewise.
        prediction: the photo with the predicted segments over it, likewise.
        classes: the classes in truth or prediction, in class order.
    """

    score: ImageScore
    width_px: int
    height_px: int
    photo: str
    truth: str
    prediction: str
    classes: tuple[ClassTally, ...]


def choose_images(images: Sequence[ImageScore], count: int) -> tuple[list[ImageScore], list[ImageScore]]:
    """The best and the worst images by PQ; no image is in both lists, and equal PQ goes by the order of `images`.

    Args:
        images: all images. Those without a PQ are left out.
        count: most images per list.

    Returns:
        Best first, and worst first.
    """
    scored = sorted((image for image in images if image.pq is not None), key=lambda image: -(image.pq or 0.0))
    num_best = min(count, (len(scored) + 1) // 2)
    num_worst = min(count, len(scored) - num_best)
    return scored[:num_best], scored[len(scored) - num_worst :][::-1]


def gallery_image(
    score: ImageScore, record: ExampleRecord, prediction: Prediction, categories: CategoryTable
) -> GalleryImage:
    """Draws one image.

    Args:
        score: the image's numbers.
        record: its photo and truth.
        prediction: what the model made of it.
        categories: names and colours.
    """
    photo = Image.open(io.BytesIO(record.image_encoded)).convert("RGB")
    size = shown_size(*photo.size)
    pixels = np.asarray(photo.resize(size, Image.Resampling.LANCZOS))
    maps = [panoptic_png.decode_panoptic_png(png) for png in (record.panoptic_png, prediction.panoptic_png)]
    sides = []
    for ids, segments in zip(maps, _drawn_segments(record, prediction, *maps), strict=True):
        shown_ids = np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))
        sides.append(draw_panoptic(pixels, shown_ids, segments, categories))
    return GalleryImage(
        score=score,
        width_px=size[0],
        height_px=size[1],
        photo=_data_address(pixels),
        truth=_data_address(sides[0]),
        prediction=_data_address(sides[1]),
        classes=_tally(record, prediction, categories),
    )


def shown_size(width_px: int, height_px: int) -> tuple[int, int]:
    """Width and height a photo is shown in: its longer side is at most `MAX_SIDE_PX`.

    A small photo is enlarged a whole number of times, so that every pixel of its outlines stays visible.
    """
    longest = max(width_px, height_px)
    scale = MAX_SIDE_PX / longest if longest > MAX_SIDE_PX else MAX_SIDE_PX // longest
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))


def css_color(categories: CategoryTable, class_index: int) -> str:
    """A class's colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*categories.categories[class_index].color)


def _drawn_segments(
    record: ExampleRecord, prediction: Prediction, true_ids: np.ndarray, predicted_ids: np.ndarray
) -> tuple[list[DrawnSegment], list[DrawnSegment]]:
    """The segments of both sides, with what the evaluation says about each."""
    truth = [Segment(s.id, s.class_index, s.iscrowd, s.area_px) for s in record.segments]
    predicted = [Segment(s.id, s.class_index) for s in prediction.segments]
    matches = match_segments(true_ids, truth, predicted_ids, predicted, image_name=record.filename)
    missed = [
        MatchState.CROWD if segment.iscrowd else MatchState.MISSED if is_missed else MatchState.PLAIN
        for segment, is_missed in zip(truth, matches.false_negative, strict=True)
    ]
    extra = [MatchState.EXTRA if is_extra else MatchState.PLAIN for is_extra in matches.false_positive]
    return (
        [DrawnSegment(id=s.id, class_index=s.class_index, state=state) for s, state in zip(truth, missed, strict=True)],
        [
            DrawnSegment(id=s.id, class_index=s.class_index, score=s.score, state=state)
            for s, state in zip(prediction.segments, extra, strict=True)
        ],
    )


def _data_address(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _tally(record: ExampleRecord, prediction: Prediction, categories: CategoryTable) -> tuple[ClassTally, ...]:
    true = Counter(segment.class_index for segment in record.segments if not segment.iscrowd)
    predicted = Counter(segment.class_index for segment in prediction.segments)
    return tuple(
        ClassTally(
            name=categories.names[index],
            color=css_color(categories, index),
            num_true=true[index],
            num_predicted=predicted[index],
        )
        for index in sorted(true.keys() | predicted.keys())
    )
