"""Chooses the report's images and draws each as photo, truth and prediction.

Pictures are re-encoded as JPEG and embedded as text, so the report is one file of a few megabytes. Missed and false
segments are marked. `sources` reads the chosen records, and `page` makes the page.
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

from components.panoptic_evaluator.scoring.evaluation import ImageScore
from maskformer_model.categories import CategoryTable
from maskformer_model.data import panoptic_png
from maskformer_model.metrics.segment_matching import MatchedSegment, SegmentMatches, match_segments
from maskformer_model.prediction.visualization import DrawnSegment, MatchState, draw_panoptic

if TYPE_CHECKING:  # Both import TensorFlow.
    from components.panoptic_predictor.prediction_files import Prediction
    from maskformer_model.data.examples import ExampleRecord

MIN_SIDE_PX, MAX_SIDE_PX = 480, 960
_JPEG_QUALITY = 82


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassTally:
    """How often a class occurs in one image.

    Attributes:
        name: The class's name.
        color: The class's colour as `#rrggbb`.
        num_true: The number of true segments, without crowds.
        num_predicted: The number of predicted segments.
    """

    name: str
    color: str
    num_true: int
    num_predicted: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentFinding:
    """The evaluation's result for one segment.

    Attributes:
        name: The name of its class.
        color: The color of its class, as `#rrggbb`.
        result: "found", "missed", "crowd, not counted", "false" or "excused by void or crowd".
        iou: The IoU with its match, if it is found.
        score: The score of the predicted segment, if there is one.
        area_px: The number of its pixels; the true segment's if it is found.
    """

    name: str
    color: str
    result: str
    area_px: int
    iou: float | None = None
    score: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GalleryImage:
    """An image in the report.

    Attributes:
        score: The image's numbers.
        width_px: The width of each picture.
        height_px: The height of each picture.
        photo: The photo, a JPEG as a `data:` address.
        truth: The photo with the true segments over it, as a `data:` address.
        prediction: The photo with the predicted segments over it, as a `data:` address.
        classes: The classes in truth or prediction, in class order.
        segments: Every true segment, then the predicted segments without a match.
        baseline: The photo with the baseline's segments over it, if it is shown.
        change: PQ of this image minus the baseline's, if both are known.
    """

    score: ImageScore
    width_px: int
    height_px: int
    photo: str
    truth: str
    prediction: str
    classes: tuple[ClassTally, ...]
    segments: tuple[SegmentFinding, ...] = ()
    baseline: str | None = None
    change: float | None = None


def choose_images(images: Sequence[ImageScore], count: int) -> tuple[list[ImageScore], list[ImageScore]]:
    """Returns the best and the worst images by PQ; no image is in both, and ties keep the order of `images`.

    Args:
        images: All images; those without a PQ are left out.
        count: The largest number of images per list.

    Returns:
        The best images, best first, and the worst images, worst first.
    """
    scored = sorted((image for image in images if image.pq is not None), key=lambda image: -(image.pq or 0.0))
    num_best = min(count, (len(scored) + 1) // 2)
    num_worst = min(count, len(scored) - num_best)
    return scored[:num_best], scored[len(scored) - num_worst :][::-1]


def choose_random(images: Sequence[ImageScore], count: int) -> list[ImageScore]:
    """Returns images chosen at random, always the same ones, in the order of `images`."""
    generator = np.random.default_rng(len(images))
    chosen = generator.choice(len(images), min(count, len(images)), replace=False)
    return [images[index] for index in sorted(chosen.tolist())]


def choose_most_changed(
    candidate: Sequence[ImageScore], baseline: Sequence[ImageScore], count: int
) -> list[tuple[ImageScore, float]]:
    """Returns the images whose PQ changed most from the baseline's, in either direction, with the change."""
    before = {image.source_id: image.pq for image in baseline}
    changes = []
    for image in candidate:
        former = before.get(image.source_id)
        if image.pq is not None and former is not None and image.pq != former:
            changes.append((image, image.pq - former))
    return sorted(changes, key=lambda pair: -abs(pair[1]))[:count]


def gallery_image(
    score: ImageScore,
    record: ExampleRecord,
    prediction: Prediction,
    categories: CategoryTable,
    *,
    baseline: Prediction | None = None,
    change: float | None = None,
) -> GalleryImage:
    """Draws one image.

    Args:
        score: The image's numbers.
        record: The image's photo and truth.
        prediction: The model's prediction.
        categories: The classes' names and colours.
        baseline: The baseline's prediction, to be shown as well.
        change: The change of this image's PQ from the baseline's.
    """
    photo = Image.open(io.BytesIO(record.image_encoded)).convert("RGB")
    size = shown_size(*photo.size)
    pixels = np.asarray(photo.resize(size, Image.Resampling.LANCZOS))
    true_ids = panoptic_png.decode_panoptic_png(record.panoptic_png)

    def draw(ids: np.ndarray, segments: Sequence[DrawnSegment]) -> str:
        shown_ids = np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))
        return _data_address(draw_panoptic(pixels, shown_ids, segments, categories))

    truth, predicted, predicted_ids, matches = _match(record, prediction, true_ids)
    drawn_truth, drawn_prediction = _drawn_segments(truth, prediction, matches)
    of_baseline = None
    if baseline is not None:
        former_truth, _, former_ids, former_matches = _match(record, baseline, true_ids)
        of_baseline = draw(former_ids, _drawn_segments(former_truth, baseline, former_matches)[1])
    return GalleryImage(
        score=score,
        width_px=size[0],
        height_px=size[1],
        photo=_data_address(pixels),
        truth=draw(true_ids, drawn_truth),
        prediction=draw(predicted_ids, drawn_prediction),
        classes=_tally(record, prediction, categories),
        segments=_findings(truth, prediction, matches, categories),
        baseline=of_baseline,
        change=change,
    )


def shown_size(width_px: int, height_px: int) -> tuple[int, int]:
    """Returns width and height of a photo's pictures: its own, limited to a longer side of `MAX_SIDE_PX`.

    A small photo is enlarged by a whole number, so that every pixel of its outlines is visible.
    """
    longest = max(width_px, height_px)
    scale = MAX_SIDE_PX / longest if longest > MAX_SIDE_PX else max(1, MIN_SIDE_PX // longest)
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))


def css_color(categories: CategoryTable, class_index: int) -> str:
    """Returns a class's colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*categories.categories[class_index].color)


def _match(
    record: ExampleRecord, prediction: Prediction, true_ids: np.ndarray
) -> tuple[list[MatchedSegment], list[MatchedSegment], np.ndarray, SegmentMatches]:
    truth = [MatchedSegment(s.id, s.class_index, s.iscrowd, s.area_px) for s in record.segments]
    predicted = [MatchedSegment(s.id, s.class_index) for s in prediction.segments]
    predicted_ids = panoptic_png.decode_panoptic_png(prediction.panoptic_png)
    matches = match_segments(
        true_ids,
        truth,
        predicted_ids,
        predicted,
        image_name=record.filename,
        void_is_background=record.void_is_background,
    )
    return truth, predicted, predicted_ids, matches


def _drawn_segments(
    truth: Sequence[MatchedSegment], prediction: Prediction, matches: SegmentMatches
) -> tuple[list[DrawnSegment], list[DrawnSegment]]:
    """Returns the segments of both sides, each with its result."""
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


def _findings(
    truth: Sequence[MatchedSegment], prediction: Prediction, matches: SegmentMatches, categories: CategoryTable
) -> tuple[SegmentFinding, ...]:
    true_areas = matches.intersections[1:].sum(axis=1).tolist()
    predicted_areas = matches.intersections[:, 1:].sum(axis=0).tolist()
    partner = {
        int(t): (int(p), float(iou))
        for t, p, iou in zip(matches.truth_index, matches.predicted_index, matches.iou, strict=True)
    }

    def finding(class_index: int, result: str, area_px: int, **more: float) -> SegmentFinding:
        name, color = categories.names[class_index], css_color(categories, class_index)
        return SegmentFinding(name=name, color=color, result=result, area_px=int(area_px), **more)

    findings = []
    for index, segment in enumerate(truth):
        if index in partner:
            predicted, iou = partner[index]
            score = prediction.segments[predicted].score
            findings.append(finding(segment.class_index, "found", true_areas[index], iou=iou, score=score))
        else:
            result = "crowd, not counted" if segment.iscrowd else "missed"
            findings.append(finding(segment.class_index, result, true_areas[index]))
    matched = {predicted for predicted, _ in partner.values()}
    for index, predicted_segment in enumerate(prediction.segments):
        if index not in matched:
            result = "false" if matches.false_positive[index] else "excused by void or crowd"
            area_px = predicted_areas[index]
            findings.append(finding(predicted_segment.class_index, result, area_px, score=predicted_segment.score))
    return tuple(findings)


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
