"""PanopticPredictor: predicts every photo of a split with a SavedModel, as a user would call it."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.panoptic_predictor import executor
from components.panoptic_predictor.artifacts import PanopticPredictions


class PanopticPredictorSpec(ComponentSpec):
    """The inputs, outputs and parameters of PanopticPredictor."""

    PARAMETERS = {
        executor.SPLIT_KEY: ExecutionParameter(type=str),
        executor.BATCH_SIZE_KEY: ExecutionParameter(type=int),
    }
    INPUTS = {
        executor.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
        executor.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model, optional=True),
        executor.CANDIDATE_MODEL_KEY: ChannelParameter(type=standard_artifacts.Model, optional=True),
        executor.CANDIDATE_PREDICTIONS_KEY: ChannelParameter(type=PanopticPredictions, optional=True),
    }
    OUTPUTS = {executor.PREDICTIONS_KEY: ChannelParameter(type=PanopticPredictions)}


class PanopticPredictor(base_beam_component.BaseBeamComponent):
    """Predicts a split of examples with an exported model and counts every image; output `predictions`.

    It is a separate node, so that its result stays cached while thresholds change. As the baseline's predictor (with
    `candidate_model`), it writes why there is nothing to predict if the baseline is absent, is the candidate itself, or
    knows other classes.
    """

    SPEC_CLASS = PanopticPredictorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

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
            model: The model to predict with; without artifacts only together with `candidate_model`.
            candidate_model: For the baseline, the model that it is compared with.
            candidate_predictions: For the baseline, the predictions of that model.
            split: The split to predict.
            batch_size: How many photos of one padded size are predicted together. Above 1, results can differ in the
                last bits with the other photos in the batch.

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
