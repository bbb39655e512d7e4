"""Computes average precision of instances (COCO's AP) with pycocotools, one image at a time.

The official evaluation matches image by image and only sorts by score at the end; so images can be matched wherever
they are, and what is kept of one is a short record. `average_precision` hands all records to the official accumulation.
Instances of a panoptic truth are its thing segments, crowds as crowds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from maskformer_model.config import INSTANCE
from maskformer_model.config.scores import SCORES_OF_TASK
from maskformer_model.data.photo_files import gray_pixels
from maskformer_model.metrics.segment_matching import MatchedSegment

COCO_MAX_INSTANCES = 100  # Of a photo and class: COCO's AP counts no more.
NAMES = (*SCORES_OF_TASK[INSTANCE], "ap_small", "ap_medium", "ap_large")
_NUM_THRESHOLDS = 10
# One image's matches by class: for each size range, per detection its score and, as bits over the IoU thresholds,
# where it is matched and where ignored; and per true instance whether it is ignored.
ImageMatches = Mapping[Any, Sequence[Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Instance:
    """One instance of an image.

    Attributes:
        class_index: The class index of a thing.
        rle: its mask, as `encode_mask` makes it.
        area_px: its pixels.
        score: confidence; true instances have none.
        iscrowd: True for a group; true instances only.
    """

    class_index: int
    rle: Mapping[str, Any]
    area_px: int
    score: float = 0.0
    iscrowd: bool = False


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths of a `[height, width]` bool mask in pycocotools' form."""
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def instances_of_map(
    segment_ids: np.ndarray,
    segments: Sequence[MatchedSegment],
    isthing: np.ndarray,
    scores: Sequence[float] | None = None,
) -> list[Instance]:
    """Returns the thing segments of a panoptic map as instances; one without a pixel is left out."""
    instances = []
    for index, segment in enumerate(segments):
        if not isthing[segment.class_index]:
            continue
        mask = segment_ids == segment.id
        area_px = int(mask.sum())
        if area_px:
            score = 0.0 if scores is None else float(scores[index])
            instances.append(Instance(segment.class_index, encode_mask(mask), area_px, score, segment.iscrowd))
    return instances


def instances_of_pngs(
    count: int, pngs: Sequence[bytes], class_indices: np.ndarray, scores: np.ndarray
) -> list[Instance]:
    """Returns the first `count` rows of the signature `instances`; one whose mask has no pixel is left out."""
    instances = []
    for png, class_index, score in zip(pngs[:count], class_indices.tolist(), scores.tolist(), strict=False):
        mask = gray_pixels(png) > 0
        if mask.any():
            instances.append(Instance(class_index, encode_mask(mask), int(mask.sum()), score))
    return instances


def counted_words(max_instances: int) -> str:
    """Returns how many predictions AP counts, as a clause; empty if as many as COCO's."""
    if max_instances == COCO_MAX_INSTANCES:
        return ""
    return f"up to {max_instances} instances of a class in a photo, where COCO's counts {COCO_MAX_INSTANCES}"


def match_instances(
    truth: Sequence[Instance], predicted: Sequence[Instance], max_instances: int = COCO_MAX_INSTANCES
) -> dict[int, list[dict[str, Any]]]:
    """Matches the instances of one image, class by class, with pycocotools.

    Args:
        truth: The true instances.
        predicted: The predictions, in any order.
        max_instances: How many predictions of each class count, best first.
    """
    matches = {}
    for class_index in sorted({instance.class_index for instance in (*truth, *predicted)}):
        evaluator = _evaluator(1, [class_index])
        evaluator._gts[0, class_index] = [
            _annotation(number, instance) | {"ignore": int(instance.iscrowd), "iscrowd": int(instance.iscrowd)}
            for number, instance in enumerate((i for i in truth if i.class_index == class_index), start=1)
        ]
        evaluator._dts[0, class_index] = [
            _annotation(number, instance) | {"score": instance.score}
            for number, instance in enumerate((i for i in predicted if i.class_index == class_index), start=1)
        ]
        evaluator.params.maxDets = [max_instances]
        evaluator.ious = {(0, class_index): evaluator.computeIoU(0, class_index)}
        records = (evaluator.evaluateImg(0, class_index, r, max_instances) for r in evaluator.params.areaRng)
        matches[class_index] = [_pack(record) for record in records]
    return matches


def average_precision(
    images: Iterable[ImageMatches], thing_classes: Sequence[int], *, by_size: bool = True
) -> dict[str, Any]:
    """Computes AP of all images.

    Args:
        images: what `match_instances` gave, in any order of images; keys may be text, as json has them.
        thing_classes: class indices to average over.
        by_size: False leaves out the last three numbers, which take most of the time.

    Returns:
        `ap` (mean over IoU 0.50..0.95), `ap50`, `ap75`, `ap_small`, `ap_medium` and `ap_large`, each in 0..1, or None
        where there is no true instance; and `per_class`: AP by class index, also None where there is no true instance.
    """
    records = [{int(key): value for key, value in image.items()} for image in images]
    evaluator = _evaluator(len(records), list(thing_classes))
    evaluator.params.maxDets = [sys.maxsize]  # Those that count were chosen when they were matched.
    evaluator.params.areaRng = evaluator.params.areaRng[: None if by_size else 1]
    evaluator._paramsEval = evaluator.params
    evaluator.evalImgs = [
        _unpack(image[class_index][size], number) if class_index in image else None
        for class_index in evaluator.params.catIds
        for size in range(len(evaluator.params.areaRng))
        for number, image in enumerate(records)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.accumulate()
    # [thresholds, recalls, classes, sizes, detections per image]; -1 where there is nothing to find.
    precision = evaluator.eval["precision"][..., -1]
    values = [precision[..., 0], precision[0, ..., 0], precision[5, ..., 0]]
    values += [precision[..., size] for size in range(1, precision.shape[-1])]
    result: dict[str, Any] = {name: _mean_of_known(value) for name, value in zip(NAMES, values, strict=False)}
    result["per_class"] = {c: _mean_of_known(precision[:, :, k, 0]) for k, c in enumerate(evaluator.params.catIds)}
    return result


def _evaluator(num_images: int, class_indices: list[int]) -> COCOeval:
    evaluator = COCOeval(iouType="segm")
    evaluator.params.imgIds = list(range(num_images))
    evaluator.params.catIds = class_indices
    return evaluator


def _annotation(number: int, instance: Instance) -> dict[str, Any]:
    return {"id": number, "segmentation": instance.rle, "area": instance.area_px, "iscrowd": 0}


def _pack(record: Mapping[str, Any] | None) -> dict[str, Any]:
    """What `COCOeval.accumulate` reads of an image's record, as values that json keeps."""
    if record is None:
        return {"scores": [], "matched": [], "ignored": [], "truth_ignored": []}
    powers = 1 << np.arange(_NUM_THRESHOLDS)
    return {
        "scores": [float(score) for score in record["dtScores"]],
        "matched": ((np.asarray(record["dtMatches"]) > 0).T @ powers).tolist(),
        "ignored": (np.asarray(record["dtIgnore"]).astype(bool).T @ powers).tolist(),
        "truth_ignored": [int(ignored) for ignored in record["gtIgnore"]],
    }


def _unpack(record: Mapping[str, Any], number: int) -> dict[str, Any]:
    def bits(values: Sequence[int]) -> np.ndarray:
        return np.array(values, np.int64).reshape(1, -1) >> np.arange(_NUM_THRESHOLDS)[:, None] & 1

    return {
        "image_id": number,
        "dtScores": record["scores"],
        "dtMatches": bits(record["matched"]),
        "dtIgnore": bits(record["ignored"]).astype(bool),
        "gtIgnore": np.array(record["truth_ignored"], np.int64),
    }


def _mean_of_known(precision: np.ndarray) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None
