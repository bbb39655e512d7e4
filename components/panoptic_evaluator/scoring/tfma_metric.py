"""Offers the scores as a TFMA metric, and writes an analysis that TFMA's readers and viewer can open.

TFMA adds up the images' counts per slice. Values per class are sub-keys; the baseline's values are called
`baseline_...` and the differences `..._change`. No model is loaded, so a change is a separate metric and not TFMA's,
which needs a loaded baseline. `bootstrap` computes the intervals and says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.api import model_eval_lib
from tensorflow_model_analysis.extractors import slice_key_extractor
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2

from components.panoptic_evaluator.scoring.scores import CountLayout
from maskformer_model.categories import CategoryTable

_MODELS = ("candidate", "baseline")
_INDEX, _VALUE = "{}_index", "{}_value"


class PanopticScores(metric_types.Metric):
    """The TFMA metric with `CountLayout.scores` of all images of a slice."""

    def __init__(self, categories: Sequence[Mapping[str, Any]], groups: Mapping[str, Sequence[str]], name: str = "pq"):
        """See `CountLayout`; `categories` as in a COCO json."""
        super().__init__(_computations, categories=categories, groups=groups, name=name)


metric_types.register_metric(PanopticScores)


def _computations(
    categories: Sequence[Mapping[str, Any]], groups: Mapping[str, Sequence[str]], name: str
) -> list[metric_types.MetricComputation]:
    layout = CountLayout(categories=CategoryTable.from_coco(categories), groups=groups)
    features: dict[str, dict[str, Any]] = {key.format(model): {} for model in _MODELS for key in (_INDEX, _VALUE)}
    inputs = metric_types.StandardMetricInputsPreprocessor(
        include_filter={"features": features}, include_default_inputs=False
    )
    return [metric_types.MetricComputation(keys=[], preprocessors=[inputs], combiner=_SumCounts(layout))]


class _SumCounts(beam.CombineFn):
    """Sums the count vectors of candidate and baseline; a missing baseline's sum is None."""

    def __init__(self, layout: CountLayout):
        self._layout = layout

    def create_accumulator(self):
        return [None, None]

    def add_input(self, accumulator, element):
        for number, model in enumerate(_MODELS):
            if _INDEX.format(model) in element.features:
                if accumulator[number] is None:
                    accumulator[number] = np.zeros(self._layout.size)
                # Indices of one image are unique.
                accumulator[number][element.features[_INDEX.format(model)]] += element.features[_VALUE.format(model)]
        return accumulator

    def merge_accumulators(self, accumulators):
        merged = self.create_accumulator()
        for accumulator in accumulators:
            for number, counts in enumerate(accumulator):
                if counts is not None:
                    merged[number] = counts if merged[number] is None else merged[number] + counts
        return merged

    def extract_output(self, accumulator):
        if accumulator[0] is None:
            return {}
        candidate = self._layout.scores(accumulator[0])
        baseline = None if accumulator[1] is None else self._layout.scores(accumulator[1])
        values = {}
        for name in self._layout.names:
            values[_key(name)] = float(candidate[name])
            if baseline is not None:
                values[_key(f"baseline_{name}")] = float(baseline[name])
                values[_key(f"{name}_change")] = float(candidate[name] - baseline[name])
        for index in range(self._layout.categories.num_classes):
            if np.isfinite(candidate["pq_per_class"][index]):
                values[_key("pq", index)] = float(candidate["pq_per_class"][index])
        return values


def _key(name: str, class_index: int | None = None) -> metric_types.MetricKey:
    sub_key = None if class_index is None else metric_types.SubKey(class_id=class_index)
    # None, as in the keys of thresholds: a metric that says False is "not found" there.
    return metric_types.MetricKey(name=name, sub_key=sub_key, example_weighted=None)


def eval_config(
    layout: CountLayout, slices: Iterable[str], *, pq_floor: float, allowed_drop: float | None, metric: str = "pq"
) -> config_pb2.EvalConfig:
    """Returns TFMA's configuration.

    Args:
        layout: The layout of the count vectors.
        slices: The names of attributes.
        pq_floor: The smallest value of `metric`, for `validations.tfrecord`.
        allowed_drop: The largest loss of `metric` from the baseline; None without one.
        metric: The score that is judged; AP has no threshold here, because its counts do not add up.
    """
    config = config_pb2.EvalConfig()
    config.model_specs.add()
    config.slicing_specs.add()
    for name in slices:
        config.slicing_specs.add(feature_keys=[name])
    specs = config.metrics_specs.add()
    text = json.dumps({"categories": layout.categories.to_coco(), "groups": dict(layout.groups)})
    specs.metrics.add(class_name=PanopticScores.__name__, module=__name__, config=text)
    if metric not in layout.names:
        return config
    specs.thresholds[metric].value_threshold.lower_bound.value = pq_floor
    if allowed_drop is not None:
        specs.thresholds[f"{metric}_change"].value_threshold.lower_bound.value = -allowed_drop
    return config


def extracts_of(candidate: np.ndarray, baseline: np.ndarray | None, slices: Mapping[str, str]) -> dict[str, Any]:
    """Returns one image as TFMA's extracts.

    Args:
        candidate: The candidate's `[size]` counts.
        baseline: The baseline's `[size]` counts, or None.
        slices: The values by attribute name.
    """
    features = {name: np.array([value.encode()]) for name, value in slices.items()}
    for model, vector in zip(_MODELS, (candidate, baseline), strict=True):
        if vector is not None:
            features[_INDEX.format(model)] = np.flatnonzero(vector)
            features[_VALUE.format(model)] = vector[np.flatnonzero(vector)]
    # TFMA counts the bytes of its input, and warns if there is none.
    return {constants.INPUT_KEY: b"", constants.FEATURES_KEY: features}


class Analyze(beam.PTransform):
    """`extracts_of` every image -> TFMA's files in a folder."""

    def __init__(self, config: config_pb2.EvalConfig, output_dir: str):
        super().__init__()
        self._config = config
        self._output_dir = output_dir

    def expand(self, images):
        """Connects the steps."""
        return images | "Analyze" >> model_eval_lib.ExtractEvaluateAndWriteResults(
            eval_config=self._config,
            extractors=[slice_key_extractor.SliceKeyExtractor(eval_config=self._config)],
            output_path=self._output_dir,
        )
