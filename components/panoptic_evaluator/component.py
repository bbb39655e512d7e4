"""The contracts of PanopticPredictor and PanopticEvaluator, as TFX components."""

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
from components.panoptic_predictor import executor as panoptic_predictor_executor
from components.panoptic_predictor.artifacts import PanopticPredictions


class PanopticPredictorSpec(ComponentSpec):
    """What PanopticPredictor takes and gives."""

    PARAMETERS = {
        panoptic_predictor_executor.SPLIT_KEY: ExecutionParameter(type=str),
        panoptic_predictor_executor.BATCH_SIZE_KEY: ExecutionParameter(type=int),
    }
    INPUTS = {
        panoptic_predictor_executor.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
        panoptic_predictor_executor.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model, optional=True),
        panoptic_predictor_executor.CANDIDATE_MODEL_KEY: ChannelParameter(type=standard_artifacts.Model, optional=True),
        panoptic_predictor_executor.CANDIDATE_PREDICTIONS_KEY: ChannelParameter(
            type=PanopticPredictions, optional=True
        ),
    }
    OUTPUTS = {panoptic_predictor_executor.PREDICTIONS_KEY: ChannelParameter(type=PanopticPredictions)}


class PanopticPredictor(base_beam_component.BaseBeamComponent):
    """Predicts a split of examples with an exported model and counts every image; output `predictions`.

    A node of its own, so that its result stays cached while thresholds change. As the baseline's predictor (with
    `candidate_model`) it writes why there is nothing to predict where the baseline is absent, or is the candidate
    itself, or knows other classes.
    """

    SPEC_CLASS = PanopticPredictorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(panoptic_predictor_executor.Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        candidate_model: types.BaseChannel | None = None,
        candidate_predictions: types.BaseChannel | None = None,
        split: str = "eval",
        batch_size: int = 1,
    ):
        """Connects the node.

        Args:
            examples: Examples with `categories.json` in its root.
            model: the model to predict with; without artifacts only together with `candidate_model`.
            candidate_model: for the baseline, the model that it is compared with.
            candidate_predictions: for the baseline, the predictions of that model.
            split: the split to predict.
            batch_size: photos that go through the network together, where they are padded to one size. Above 1 the
                last bits of the network's arithmetic may depend on which photos share a batch.

        Raises:
            ValueError: if one of `candidate_model` and `candidate_predictions` is given without the other.
        """
        if (candidate_model is None) != (candidate_predictions is None):
            raise ValueError(
                "`candidate_model` and `candidate_predictions` belong together. "
                f"Received: {candidate_model} and {candidate_predictions}"
            )
        predictions = types.Channel(type=PanopticPredictions)
        super().__init__(
            spec=PanopticPredictorSpec(
                examples=examples,
                model=model,
                candidate_model=candidate_model,
                candidate_predictions=candidate_predictions,
                split=split,
                batch_size=batch_size,
                predictions=predictions,
            )
        )


class PanopticEvaluatorSpec(ComponentSpec):
    """What PanopticEvaluator takes and gives."""

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
            examples: the examples that were predicted.
            model: the candidate.
            predictions: the candidate's predictions.
            baseline_model: the model that was blessed last; may be without artifacts.
            baseline_predictions: its predictions on the same examples, or why there are none.
            pq_floor: smallest PQ that is blessed, 0..1.
            allowed_drop: how far PQ may be below the baseline's, 0..1.
            significance: "not_worse" asks for confidence that PQ is not below by more; for "point" its value decides.
            rules: further rules, see `gate_rules`.
            analysis: slices, class groups and intervals.
            gallery_images: most images in each of the report's galleries.
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
