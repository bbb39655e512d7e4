"""Runs PanopticPredictor: predicts a split with a model, or says why that is not needed.

With `candidate_model` it works for the baseline: there may be no model, or the model may be the candidate itself or
know other classes. Each of these is an outcome that the gate understands and not an error. Without it, it works for
the candidate, where the same would be a mistake.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import apache_beam as beam
import tensorflow as tf
from absl import logging
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.artifact_lists import ArtifactLists
from components.panoptic_predictor import prediction_files, serving_model
from components.panoptic_predictor.prediction_files import PredictionSummary
from components.panoptic_predictor.prediction_step import PredictSplit, ShardResult
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples

EXAMPLES_KEY = "examples"
MODEL_KEY = "model"
CANDIDATE_MODEL_KEY = "candidate_model"
CANDIDATE_PREDICTIONS_KEY = "candidate_predictions"
PREDICTIONS_KEY = "predictions"
SPLIT_KEY = "split"
BATCH_SIZE_KEY = "batch_size"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes a PanopticPredictions artifact."""

    def Do(self, input_dict: ArtifactLists, output_dict: ArtifactLists, exec_properties: dict[str, Any]) -> None:
        """Predicts, counts and writes.

        Args:
            input_dict: `examples`; `model`; for a baseline also `candidate_model` and `candidate_predictions`.
            output_dict: `predictions`.
            exec_properties: `split`, a split of the examples; `batch_size`, photos per call of the model.

        Raises:
            ValueError: if `batch_size` is not positive, or the candidate is missing or knows other classes than the
                examples, or its predictions contradict themselves.
            FileNotFoundError: if the class list of model or examples is missing.
        """
        output_dir = artifact_utils.get_single_uri(output_dict[PREDICTIONS_KEY])
        split, batch_size = exec_properties[SPLIT_KEY], exec_properties[BATCH_SIZE_KEY]
        if batch_size < 1:
            raise ValueError(f"`{BATCH_SIZE_KEY}` must be positive. Received: {batch_size}")
        split_dir = artifact_utils.get_split_uri(input_dict[EXAMPLES_KEY], split)
        categories = serving_model.load_categories(examples.categories_path(os.path.join(split_dir, "*")))
        tf.io.gfile.makedirs(output_dir)
        if input_dict.get(CANDIDATE_MODEL_KEY):
            unneeded = _unneeded_baseline(input_dict, categories)
            if unneeded is not None:
                logging.info("The baseline is not predicted: %s", unneeded.reason)
                dataclasses.replace(unneeded, split=split).save(output_dir)
                return
        else:
            _require_candidate(input_dict, categories)
        model_uri = artifact_utils.get_single_uri(input_dict[MODEL_KEY])
        predict = PredictSplit(
            prediction_files.example_files(split_dir),
            path_utils.serving_model_path(model_uri),
            output_dir,
            isthing=categories.isthing,
            batch_size=batch_size,
        )
        with self._make_beam_pipeline() as pipeline:
            result = pipeline | "PredictSplit" >> predict
            result | "SaveSummary" >> beam.Map(_save_summary, model_uri=model_uri, split=split, output_dir=output_dir)


def _save_summary(result: ShardResult, model_uri: str, split: str, output_dir: str) -> None:
    PredictionSummary(
        status=prediction_files.PREDICTED,
        model_uri=model_uri,
        split=split,
        num_images=result.num_images,
        counts=result.counts,
    ).save(output_dir)


def _require_candidate(input_dict: ArtifactLists, categories: CategoryTable) -> None:
    if not input_dict.get(MODEL_KEY):
        raise ValueError(f"`{MODEL_KEY}` must be a model where no `{CANDIDATE_MODEL_KEY}` is given. Received: none")
    difference = _difference_of_model(artifact_utils.get_single_uri(input_dict[MODEL_KEY]), categories)
    if difference:
        raise ValueError(f"Model and examples must have the same classes in the same order, but {difference}.")


def _difference_of_model(model_uri: str, categories: CategoryTable) -> str:
    of_model = serving_model.categories_of_model(path_utils.serving_model_path(model_uri))
    return serving_model.difference_of_categories(of_model, categories)


def _unneeded_baseline(input_dict: ArtifactLists, categories: CategoryTable) -> PredictionSummary | None:
    """Returns why the baseline need not be predicted; None if it must be."""
    if not input_dict.get(MODEL_KEY):
        return PredictionSummary(status=prediction_files.NO_BASELINE, reason="no model was blessed before this one")
    model_uri = artifact_utils.get_single_uri(input_dict[MODEL_KEY])
    if model_uri == artifact_utils.get_single_uri(input_dict[CANDIDATE_MODEL_KEY]):
        return PredictionSummary(
            status=prediction_files.SAME_AS_CANDIDATE,
            reason="the model that was blessed last is the candidate",
            model_uri=model_uri,
            predictions_uri=artifact_utils.get_single_uri(input_dict[CANDIDATE_PREDICTIONS_KEY]),
        )
    difference = _difference_of_model(model_uri, categories)
    if difference:
        return PredictionSummary(status=prediction_files.OTHER_CATEGORIES, reason=difference, model_uri=model_uri)
    return None
