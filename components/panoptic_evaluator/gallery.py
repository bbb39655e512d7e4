"""The report's pictures: which images it shows, and each of them as photo, truth and prediction.

Pictures are drawn at the size they are shown in, re-encoded as JPEG and embedded as text, so the report stays one file
of a few megabytes. Reading the chosen records is left to the executor, the page around them to `report`.
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

if TYPE_CHECKING:  # Both import TensorFlow.
    from components.panoptic_evaluator.prediction_files import Prediction
    from maskformer_model.examples import ExampleRecord

MAX_SIDE_PX = 480
_JPEG_QUALITY = 82
_FILL_OPACITY = 0.6


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
    scored = sorted((image for image in images if image.pq is not None), key=lambda image: -image.pq)
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
    sides = []
    for png, segments in ((record.panoptic_png, record.segments), (prediction.panoptic_png, prediction.segments)):
        ids = Image.fromarray(panoptic_png.decode_panoptic_png(png)).resize(size, Image.Resampling.NEAREST)
        class_of_id = {segment.id: segment.class_index for segment in segments}
        sides.append(draw_panoptic(pixels, np.asarray(ids), class_of_id, categories))
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


def draw_panoptic(
    photo: np.ndarray, segment_ids: np.ndarray, class_of_id: dict[int, int], categories: CategoryTable
) -> np.ndarray:
    """Lays segments over a photo: a fill in the class's colour, varied by instance, and a white outline; void is dark.

    Args:
        photo: `[height, width, 3]` uint8.
        segment_ids: `[height, width]` int, 0 = void.
        class_of_id: class index of each id.
        categories: colours.

    Returns:
        `[height, width, 3]` uint8.
    """
    gray = photo.mean(axis=-1, keepdims=True)
    drawn = np.repeat(0.35 * gray, 3, axis=-1)
    instances: Counter[int] = Counter()
    for segment_id, class_index in class_of_id.items():
        # Instances of a class differ in lightness: 0, lighter, darker, lighter still, ...
        step = instances[class_index]
        instances[class_index] += 1
        shift = (-1) ** (step + 1) * 28 * ((step % 5 + 1) // 2)
        color = np.clip(categories.colors[class_index].astype(float) + shift, 0, 255)
        mask = segment_ids == segment_id
        drawn[mask] = _FILL_OPACITY * color + (1 - _FILL_OPACITY) * photo[mask]
    drawn[_outline(segment_ids)] = 255
    return drawn.round().astype(np.uint8)


def css_color(categories: CategoryTable, class_index: int) -> str:
    """A class's colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*categories.categories[class_index].color)


def _outline(segment_ids: np.ndarray) -> np.ndarray:
    outline = np.zeros(segment_ids.shape, dtype=bool)
    outline[:, 1:] |= segment_ids[:, 1:] != segment_ids[:, :-1]
    outline[1:, :] |= segment_ids[1:, :] != segment_ids[:-1, :]
    return outline


def _data_address(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_JPEG_QUALITY, optimize=True)
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
