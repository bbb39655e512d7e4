"""Sums the counts of stored predictions over images; no model and no pixel is needed.

Besides the sums, it writes a row per image with the image's counts, for rankings, slices and resamples. `evaluation`
reads both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from components.panoptic_predictor import counts as counts_lib
from components.panoptic_predictor import prediction_files
from components.panoptic_predictor.image_measures import ImageMeasures
from components.panoptic_predictor.prediction_files import Prediction
from maskformer_model.metrics import panoptic_quality

# The numbers to sum under a key: (kind, ...) -> numbers.
KeyedCounts = tuple[tuple[str | int, ...], tuple[float, ...]]


def image_row(prediction: Prediction, isthing: np.ndarray) -> dict[str, Any]:
    """Returns the row of one image as a json object.

    Args:
        prediction: The stored prediction.
        isthing: `[classes]` bool.

    Returns:
        `source_id`, `filename`, `height_px`, `width_px`, `statistics`, `attributes`, `measures` (every count) and `pq`:
        the PQ of this image alone, None if neither truth nor prediction has a segment that counts.
    """
    counts = counts_lib.to_panoptic_counts(prediction.counts, len(isthing))
    quality = panoptic_quality.panoptic_quality(counts, isthing).all
    return {
        "source_id": prediction.source_id,
        "filename": prediction.filename,
        "height_px": prediction.height_px,
        "width_px": prediction.width_px,
        "statistics": prediction.statistics,
        "attributes": prediction.attributes,
        "pq": quality.pq if quality.num_classes else None,
        "measures": prediction.measures.to_json(),
    }


def keyed_counts(measures: ImageMeasures) -> Iterator[KeyedCounts]:
    """Yields the counts of one image that add up, each with its key."""
    for variant, rows in measures.panoptic.items():
        for class_index, counts in rows:
            yield ("panoptic", variant, class_index), tuple(counts)
    for kind, triples in (("pixels", measures.pixels), ("confusion", measures.confusion)):
        for true, predicted, count in triples:
            yield (kind, true, predicted), (count,)


def sum_numbers(terms: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    """Adds tuples number by number."""
    total: tuple[float, ...] = ()
    for term in terms:
        total = tuple(map(sum, zip(total, term, strict=True))) if total else tuple(term)
    return total


class SumCounts(beam.PTransform):
    """`ImageMeasures` of every image -> one list of keys with the sums of their counts, in order.

    PQ and every other score are functions of these sums and never means over images; `scores` computes them.
    """

    def expand(self, measures):
        """Connects the steps."""
        return (
            measures
            | "CountsOfImage" >> beam.FlatMap(keyed_counts)
            | "SumOverImages" >> beam.CombinePerKey(sum_numbers)
            | "GatherKeys" >> beam.combiners.ToList()
            | "InOrder" >> beam.Map(sorted)
        )


class EvaluatePredictions(beam.PTransform):
    """The shards of stored predictions -> `<prefix>counts.json` (sums by key) and `<prefix>images.jsonl` (rows)."""

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
            | "MeasuresOfImage" >> beam.Map(lambda prediction: prediction.measures)
            | "SumCounts" >> SumCounts()
            | "SumsToJson" >> beam.Map(json.dumps)
            | "WriteSums" >> beam.io.WriteToText(f"{self._prefix}counts.json", num_shards=1, shard_name_template="")
        )
        rows = (
            predictions
            | "RowOfImage" >> beam.Map(image_row, self._isthing)
            | "RowsToJson" >> beam.Map(json.dumps)
            | "WriteRows" >> beam.io.WriteToText(f"{self._prefix}images.jsonl", num_shards=1, shard_name_template="")
        )
        return sums, rows
