"""PanopticEvaluator: scores predictions, judges them and blesses the model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.panoptic_evaluator import executor
from components.panoptic_evaluator.gate.rules import NOT_WORSE
from components.panoptic_evaluator.scoring.analysis_config import AnalysisConfig
from components.panoptic_predictor.artifacts import PanopticPredictions


class PanopticEvaluatorSpec(ComponentSpec):
    """The inputs, outputs and parameters of PanopticEvaluator."""

    PARAMETERS = {
        executor.PQ_FLOOR_KEY: ExecutionParameter(type=float),
        executor.ALLOWED_DROP_KEY: ExecutionParameter(type=float),
        executor.SIGNIFICANCE_KEY: ExecutionParameter(type=str),
        executor.RULES_KEY: ExecutionParameter(type=str),
        executor.ANALYSIS_KEY: ExecutionParameter(type=str),
        executor.GALLERY_IMAGES_KEY: ExecutionParameter(type=int),
    }
    INPUTS = {
        executor.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
        executor.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        executor.PREDICTIONS_KEY: ChannelParameter(type=PanopticPredictions),
        executor.BASELINE_MODEL_KEY: ChannelParameter(type=standard_artifacts.Model, optional=True),
        executor.BASELINE_PREDICTIONS_KEY: ChannelParameter(type=PanopticPredictions, optional=True),
    }
    OUTPUTS = {
        executor.EVALUATION_KEY: ChannelParameter(type=standard_artifacts.ModelEvaluation),
        executor.BLESSING_KEY: ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class PanopticEvaluator(base_beam_component.BaseBeamComponent):
    """Sums the counts of stored predictions to PQ, judges it, and writes report and blessing.

    Outputs are `evaluation` (metrics.json, gate.json, report.html, TFMA's files) and `blessing`, as TFX's own Evaluator
    has them.
    """

    SPEC_CLASS = PanopticEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        predictions: types.BaseChannel,
        baseline_model: types.BaseChannel | None = None,
        baseline_predictions: types.BaseChannel | None = None,
        pq_floor: float = 0.0,
        allowed_drop: float = 0.0,
        significance: str = NOT_WORSE,
        rules: Sequence[str] = (),
        analysis: AnalysisConfig = AnalysisConfig(),
        gallery_images: int = 6,
    ):
        """Connects the node.

        Args:
            examples: The examples that were predicted.
            model: The candidate.
            predictions: The candidate's predictions.
            baseline_model: The last blessed model; may be without artifacts.
            baseline_predictions: The baseline's predictions on the same examples, or why there are none.
            pq_floor: The smallest PQ that is blessed, 0..1.
            allowed_drop: How far PQ may be below the baseline's, 0..1.
            significance: "not_worse" requires confidence that PQ is not below by more; with "point" its value decides.
            rules: Further rules, see `gate.rules`.
            analysis: The slices, class groups and intervals.
            gallery_images: The largest number of images in each of the report's galleries.
        """
        super().__init__(
            spec=PanopticEvaluatorSpec(
                examples=examples,
                model=model,
                predictions=predictions,
                baseline_model=baseline_model,
                baseline_predictions=baseline_predictions,
                pq_floor=pq_floor,
                allowed_drop=allowed_drop,
                significance=significance,
                rules=json.dumps(list(rules)),
                analysis=json.dumps(dataclasses.asdict(analysis)),
                gallery_images=gallery_images,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
