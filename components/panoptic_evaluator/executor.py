"""Runs PanopticEvaluator: sums the counts of stored predictions, judges them, writes the report and the blessing.

It subclasses TFX's own Evaluator executor because Vertex AI translates the model's id in a blessing only for such
executors; otherwise the next run would find no baseline there. It uses only the contract of TFX's executor: outputs
`evaluation` and `blessing`, the blessing's custom properties, and its BLESSED or NOT_BLESSED file.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import apache_beam as beam
import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as tfx_evaluator
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.artifact_lists import ArtifactLists
from components.panoptic_evaluator.files import GATE_FILE, METRICS_FILE, REPORT_FILE
from components.panoptic_evaluator.gate.config import GateConfig
from components.panoptic_evaluator.gate.judge import NoBaseline, Outcome, judge
from components.panoptic_evaluator.report.page import render_report
from components.panoptic_evaluator.report.sources import assemble_report
from components.panoptic_evaluator.scoring import tfma_metric
from components.panoptic_evaluator.scoring.analysis import Analysis, analyze, slice_labels
from components.panoptic_evaluator.scoring.analysis_config import AnalysisConfig
from components.panoptic_evaluator.scoring.evaluation import (
    Evaluation,
    evaluation_from_files,
    require_same_images,
)
from components.panoptic_evaluator.scoring.headline import OF_TASK, Headline
from components.panoptic_evaluator.scoring.metric_step import EvaluatePredictions
from components.panoptic_evaluator.scoring.metrics_file import metrics_document
from components.panoptic_predictor import prediction_files, serving_model
from components.panoptic_predictor.prediction_files import PredictionSummary
from components.whole_files import write_text
from maskformer_model.categories import CategoryTable
from maskformer_model.data import examples
from maskformer_model.training.trackers import tracked_run
from maskformer_model.training.trackers.tracker import TrackerError

EXAMPLES_KEY = "examples"
MODEL_KEY = "model"
BASELINE_MODEL_KEY = "baseline_model"
PREDICTIONS_KEY = "predictions"
BASELINE_PREDICTIONS_KEY = "baseline_predictions"
EVALUATION_KEY = "evaluation"
BLESSING_KEY = "blessing"
PQ_FLOOR_KEY = "pq_floor"
ALLOWED_DROP_KEY = "allowed_drop"
SIGNIFICANCE_KEY = "significance"
RULES_KEY = "rules"
ANALYSIS_KEY = "analysis"
GALLERY_IMAGES_KEY = "gallery_images"


TRAIN_SPLIT = "train"
FINGERPRINT_PROPERTY = "input_fingerprint"  # TFX's name.

_OUTCOME_OF_STATUS = {
    prediction_files.NO_BASELINE: Outcome.FIRST_MODEL,
    prediction_files.SAME_AS_CANDIDATE: Outcome.SAME_MODEL,
    prediction_files.OTHER_CATEGORIES: Outcome.OTHER_CATEGORIES,
}


class Executor(tfx_evaluator.Executor):
    """Writes a ModelEvaluation and a ModelBlessing artifact."""

    def Do(self, input_dict: ArtifactLists, output_dict: ArtifactLists, exec_properties: dict[str, Any]) -> None:
        """Evaluates and blesses.

        Args:
            input_dict: `examples`, `model`, `predictions`; optionally `baseline_model` and `baseline_predictions`.
            output_dict: `evaluation` gets `metrics.json`, `gate.json`, `report.html`, TFMA's files and the counts they
                all come from, `blessing` TFX's standard properties and file.
            exec_properties: `pq_floor`, `allowed_drop`, `significance` and `rules` (a json list) of the gate;
                `analysis` (a json object, see `AnalysisConfig`); `gallery_images` per gallery of the report.

        Raises:
            ValueError: if a threshold breaks its rule, the predictions are another model's, an image was counted
                twice, or candidate and baseline were evaluated on different images.
        """
        gate_config = GateConfig(
            pq_floor=exec_properties[PQ_FLOOR_KEY],
            allowed_drop=exec_properties[ALLOWED_DROP_KEY],
            significance=exec_properties[SIGNIFICANCE_KEY],
            rules=tuple(json.loads(exec_properties[RULES_KEY])),
        )
        analysis_config = AnalysisConfig.from_json(exec_properties[ANALYSIS_KEY])
        model = artifact_utils.get_single_instance(input_dict[MODEL_KEY])
        output_dir = artifact_utils.get_single_uri(output_dict[EVALUATION_KEY])
        tf.io.gfile.makedirs(output_dir)
        predictions_dir = artifact_utils.get_single_uri(input_dict[PREDICTIONS_KEY])
        summary = _require_candidate(PredictionSummary.load(predictions_dir), model.uri)
        split_dir = artifact_utils.get_split_uri(input_dict[EXAMPLES_KEY], summary.split)
        categories = serving_model.load_categories(examples.categories_path(os.path.join(split_dir, "*")))

        candidate = self._evaluate(predictions_dir, output_dir, "", categories)
        baseline, no_baseline = self._evaluate_baseline(input_dict, output_dir, candidate)
        analysis = analyze(candidate, baseline, analysis_config)
        model_dir = path_utils.serving_model_path(model.uri)
        headline = OF_TASK[serving_model.task_of_model(model_dir)]
        verdict = judge(analysis, no_baseline, gate_config, headline)
        self._write_for_tfma(candidate, baseline, analysis, analysis_config, gate_config, headline, output_dir)
        logging.info("PQ %.4f: %s", candidate.quality.all.pq, verdict)

        report = assemble_report(
            candidate,
            baseline,
            analysis,
            verdict,
            split_dir=split_dir,
            train_dir=_other_split_dir(input_dict[EXAMPLES_KEY], TRAIN_SPLIT),
            predictions_dir=predictions_dir,
            baseline_predictions_dir=(
                artifact_utils.get_single_uri(input_dict[BASELINE_PREDICTIONS_KEY]) if baseline is not None else None
            ),
            model_dir=model_dir,
            lineage=_lineage(input_dict, model),
            gallery_images=exec_properties[GALLERY_IMAGES_KEY],
            headline=headline,
        )
        _write_json(os.path.join(output_dir, METRICS_FILE), metrics_document(candidate, baseline, analysis, headline))
        _write_json(
            os.path.join(output_dir, GATE_FILE), verdict.to_json() | {"thresholds": dataclasses.asdict(gate_config)}
        )
        write_text(os.path.join(output_dir, REPORT_FILE), render_report(report))
        _report_to_tracker(model_dir, output_dir, candidate, verdict.blessed)
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING_KEY])
        _bless(blessing, verdict.blessed, model, input_dict.get(BASELINE_MODEL_KEY) or [], self._component_id())

    def _evaluate_baseline(
        self, input_dict: ArtifactLists, output_dir: str, candidate: Evaluation
    ) -> tuple[Evaluation | None, NoBaseline | None]:
        """Returns the baseline's evaluation, or why there is nothing to compare with."""
        if not input_dict.get(BASELINE_PREDICTIONS_KEY):
            return None, NoBaseline(outcome=Outcome.FIRST_MODEL)
        predictions_dir = artifact_utils.get_single_uri(input_dict[BASELINE_PREDICTIONS_KEY])
        summary = PredictionSummary.load(predictions_dir)
        if summary.status != prediction_files.PREDICTED:
            return None, NoBaseline(outcome=_OUTCOME_OF_STATUS[summary.status], detail=summary.reason)
        baseline = self._evaluate(predictions_dir, output_dir, "baseline_", candidate.categories)
        require_same_images(candidate, baseline)
        return baseline, None

    def _write_for_tfma(
        self,
        candidate: Evaluation,
        baseline: Evaluation | None,
        analysis: Analysis,
        config: AnalysisConfig,
        gate_config: GateConfig,
        headline: Headline,
        output_dir: str,
    ) -> None:
        """Lets TFMA sum the images again, for its readers and its viewer."""
        labels = slice_labels(candidate, config.slices)
        names = {feature: feature.rsplit("/", 1)[-1] for feature in labels}
        vector_of = analysis.layout.vector
        of_baseline = baseline.measures if baseline is not None else [None] * len(candidate.measures)
        images = [
            tfma_metric.extracts_of(
                vector_of(ours),
                vector_of(theirs) if theirs is not None else None,
                {names[f]: labels[f][number].partition("=")[2] for f in labels},
            )
            for number, (ours, theirs) in enumerate(zip(candidate.measures, of_baseline, strict=True))
        ]
        tfma_config = tfma_metric.eval_config(
            analysis.layout,
            names.values(),
            pq_floor=gate_config.pq_floor,
            allowed_drop=gate_config.allowed_drop if baseline is not None else None,
            metric=headline.metric,
        )
        with self._make_beam_pipeline() as pipeline:
            (
                pipeline
                | "ListImages" >> beam.Create(images, reshuffle=False)
                | "AnalyzeForTfma" >> tfma_metric.Analyze(tfma_config, output_dir)
            )

    def _evaluate(self, predictions_dir: str, output_dir: str, prefix: str, categories: CategoryTable) -> Evaluation:
        shards = prediction_files.list_shards(predictions_dir)
        output_prefix = os.path.join(output_dir, prefix)
        with self._make_beam_pipeline() as pipeline:
            pipeline | "EvaluatePredictions" >> EvaluatePredictions(shards, output_prefix, categories.isthing)
        with tf.io.gfile.GFile(f"{output_prefix}counts.json") as file:
            counts_json = file.read()
        with tf.io.gfile.GFile(f"{output_prefix}images.jsonl") as lines:
            return evaluation_from_files(categories, counts_json, lines)

    def _component_id(self) -> str:
        node = self._context.pipeline_node if self._context else None
        return node.node_info.id if node else ""


def _require_candidate(summary: PredictionSummary, model_uri: str) -> PredictionSummary:
    if summary.status != prediction_files.PREDICTED or summary.model_uri != model_uri:
        raise ValueError(
            f"`{PREDICTIONS_KEY}` must be predictions of the model {model_uri}. Received: {summary.status} of "
            f"{summary.model_uri}"
        )
    return summary


def _other_split_dir(examples_artifacts: list[types.Artifact], split: str) -> str | None:
    """Returns the folder of a split, or None if the examples lack it."""
    artifact = artifact_utils.get_single_instance(examples_artifacts)
    if split not in artifact_utils.decode_split_names(artifact.split_names):
        return None
    return artifact_utils.get_split_uri(examples_artifacts, split)


def _lineage(input_dict: ArtifactLists, model: types.Artifact) -> list[tuple[str, str]]:
    """Returns the origin of model and data, with their ids in ML Metadata."""
    data = artifact_utils.get_single_instance(input_dict[EXAMPLES_KEY])
    facts = [("Model", f"{model.uri} (artifact {model.id})"), ("Examples", f"{data.uri} (artifact {data.id})")]
    if data.has_custom_property(FINGERPRINT_PROPERTY):
        facts.append(("Data fingerprint", data.get_string_custom_property(FINGERPRINT_PROPERTY)))
    for baseline in input_dict.get(BASELINE_MODEL_KEY) or []:
        facts.append(("Last blessed model", f"{baseline.uri} (artifact {baseline.id})"))
    return facts


def _bless(
    blessing: types.Artifact,
    blessed: bool,
    model: types.Artifact,
    baseline_models: list[types.Artifact],
    component_id: str,
) -> None:
    """Writes the file and the custom properties that Pusher and resolvers read."""
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if baseline_models:
        baseline = artifact_utils.get_single_instance(baseline_models)
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
    blessing.set_string_custom_property("component_id", component_id)
    value = constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE
    name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    tf.io.gfile.makedirs(blessing.uri)
    write_text(os.path.join(blessing.uri, name), "")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)


def _report_to_tracker(model_dir: str, output_dir: str, candidate: Evaluation, blessed: bool) -> None:
    """Adds the report and the verdict to the run of a model that was tracked; a missing tracker stops no gate."""
    quality = candidate.quality.all
    try:
        with tracked_run.run_of_model(model_dir) as tracker:
            if tracker is None:
                return
            for name in (REPORT_FILE, METRICS_FILE, GATE_FILE):
                tracker.write_files(os.path.join(output_dir, name), tracked_run.REPORT_FOLDER)
            scores = {"pq": quality.pq, "sq": quality.sq, "rq": quality.rq, "blessed": float(blessed)}
            tracker.write_scores({f"evaluation/{name}": value for name, value in scores.items()})
    except (ModuleNotFoundError, TrackerError) as error:
        logging.warning("The report is not in the tracker: %s", error)


def _write_json(path: str, document: dict[str, Any]) -> None:
    write_text(path, json.dumps(document, indent=1, allow_nan=False))
