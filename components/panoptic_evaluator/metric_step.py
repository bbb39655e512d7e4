"""Sum the counts of stored predictions over images and reduce them to PQ; no model and no pixel is needed.

Besides the sum, a row per image is written for rankings, with the image's own counts. Where the sums and rows go next
is left to `metrics`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from components.panoptic_evaluator import counts as counts_lib
from components.panoptic_evaluator import prediction_files
from components.panoptic_evaluator.prediction_files import Prediction
from maskformer_model import panoptic_quality


def image_row(prediction: Prediction, isthing: np.ndarray) -> dict[str, Any]:
    """What is kept of one image, as a json object.

    Args:
        prediction: the stored prediction.
        isthing: `[classes]` bool.

    Returns:
        `source_id`, `filename`, `height_px`, `width_px`, `statistics`, `counts` (rows per class) and `pq`: the PQ of
        this image alone, None where neither truth nor prediction has a segment that counts.
    """
    counts = counts_lib.to_panoptic_counts(prediction.counts, len(isthing))
    quality = panoptic_quality.panoptic_quality(counts, isthing).all
    return {
        "source_id": prediction.source_id,
        "filename": prediction.filename,
        "height_px": prediction.height_px,
        "width_px": prediction.width_px,
        "statistics": prediction.statistics,
        "pq": quality.pq if quality.num_classes else None,
        "counts": counts_lib.to_json_rows(prediction.counts),
    }


class PanopticQuality(beam.PTransform):
    """`(class_index, SegmentCounts)` of every image -> one list of `(class_index, SegmentCounts)`, in class order.

    PQ is a function of these sums and never a mean over images; `panoptic_quality.panoptic_quality` computes it.
    """

    def expand(self, counts):
        """Connects the steps."""
        return (
            counts
            | "SumOverImages" >> beam.CombinePerKey(counts_lib.sum_counts)
            | "GatherClasses" >> beam.combiners.ToList()
            | "InClassOrder" >> beam.Map(sorted)
        )


class EvaluatePredictions(beam.PTransform):
    """The shards of stored predictions -> `<prefix>counts.json` (sums per class) and `<prefix>images.jsonl` (rows)."""

    def __init__(self, shards: Sequence[str], output_prefix: str, isthing: np.ndarray):
        super().__init__()
        self._shards = list(shards)
        self._prefix = output_prefix
        self._isthing = isthing

    def expand(self, pipeline):
        """Connects the steps."""
        predictions = (
            pipeline
            | "ListShards" >> beam.Create(self._shards)
            | "SpreadShards" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(prediction_files.read_records)
            | "Decode" >> beam.Map(prediction_files.decode_prediction)
        )
        sums = (
            predictions
            | "CountsOfImages" >> beam.FlatMap(lambda prediction: prediction.counts)
            | "PanopticQuality" >> PanopticQuality()
            | "SumsToJson" >> beam.Map(lambda rows: json.dumps(counts_lib.to_json_rows(rows)))
            | "WriteSums" >> beam.io.WriteToText(f"{self._prefix}counts.json", num_shards=1, shard_name_template="")
        )
        rows = (
            predictions
            | "RowOfImage" >> beam.Map(image_row, self._isthing)
            | "RowsToJson" >> beam.Map(json.dumps)
            | "WriteRows" >> beam.io.WriteToText(f"{self._prefix}images.jsonl", num_shards=1, shard_name_template="")
        )
        return sums, rows
