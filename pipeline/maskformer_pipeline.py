"""Builds the pipeline, from a COCO-panoptic data set to a served MaskFormer. One node per arrow, no branches.

    CocoExampleGen -> StatisticsGen -> SchemaGen (curated) -> ExampleValidator -> AnomalyGate
        -> latest_blessed_model -> Transform -> DriftGate [-> Tuner] -> Trainer
        -> PanopticPredictor -> BaselinePredictor -> PanopticEvaluator -> InfraValidator -> Pusher

Prediction is a separate node, so that a change of the gate's thresholds does not predict again. The runners decide
what runs where; `docs/architecture.md` says what is reused when.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import tfx.components as tfx_components
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2
from tfx.types import Channel, standard_artifacts

from components import coco_example_gen
from components.coco_example_gen.component import CocoExampleGen
from components.coco_example_gen.options import EVAL_SPLIT, TRAIN_SPLIT
from components.data_validation import data_facts
from components.data_validation.anomaly_gate import AnomalyGate
from components.data_validation.curated_schema import CuratedSchemaGen
from components.data_validation.drift_gate import DriftGate
from components.infra_validator.component import InfraValidator
from components.panoptic_evaluator.component import PanopticEvaluator
from components.panoptic_predictor.component import PanopticPredictor
from components.pushing.pusher import KEEP_VERSIONS_KEY, POINTER_KEY, Pusher
from components.source_fingerprint import fingerprint_behind
from components.training import trainer as trainer_adapter
from components.training.initial_weights import initial_weights_digest
from maskformer_model import config as experiment_config
from maskformer_model.data import examples
from pipeline.config import PipelineConfig

SCHEMA_FILE = pathlib.Path(coco_example_gen.__file__).parent / "schema.pbtxt"
_USED_TFX_COMPONENTS = (
    "Evaluator",
    "ExampleValidator",
    "FileBasedExampleGen",
    "Pusher",
    "StatisticsGen",
    "Trainer",
    "Transform",
    "Tuner",
)
_INFRA_PHOTOS, _INFRA_TIMEOUT_S = 3, 600


def create_pipeline(
    config: PipelineConfig,
    *,
    example_gen: BaseNode | None = None,
    baseline: BaseNode | None = None,
    keeps_metadata: bool = True,
) -> Pipeline:
    """Connects the nodes without running them.

    Args:
        config: What to run.
        example_gen: A node to use instead of CocoExampleGen, with the same output, if a platform has no drivers.
        baseline: A node to use instead of latest_blessed_model, with its output `model`, if a platform has no Resolver.
        keeps_metadata: Whether runs and artifacts are recorded in a file in `root`, whose folder is made at once. A
            platform that has its own records needs none.

    Raises:
        ImportError: if a part of TFX that is used did not import.
    """
    _require_tfx_components()
    if example_gen is None:
        example_gen = CocoExampleGen(config.data.data_dir, **dataclasses.asdict(config.data.options))
    if baseline is None:
        baseline = _latest_blessed_model()
    statistics_gen = tfx_components.StatisticsGen(
        examples=example_gen.outputs["examples"], stats_options=_statistics_options()
    )
    schema_gen = CuratedSchemaGen(schema_file=str(SCHEMA_FILE)).with_id("SchemaGen")
    example_validator = tfx_components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    anomaly_gate = AnomalyGate(
        anomalies=example_validator.outputs["anomalies"], action=config.data.on_anomalies
    ).with_id("AnomalyGate")
    transform = _transform(example_gen.outputs["examples"], schema_gen.outputs["schema"])
    drift_gate = DriftGate(
        examples_artifact=example_gen.outputs["examples"],
        transform_graph=transform.outputs["transform_graph"],
        baseline_model=baseline.outputs["model"],
        action=config.data.on_drift,
        max_class_drift=config.data.max_class_drift,
    ).with_id("DriftGate")
    validation: list[BaseNode] = [
        example_gen,
        statistics_gen,
        schema_gen,
        example_validator,
        anomaly_gate,
        baseline,
        transform,
        drift_gate,
    ]
    if config.validates_only:
        return _as_pipeline(config, validation, keeps_metadata)
    tuner = _tuner(config, example_gen.outputs["examples"]) if config.tuning.choices else None
    trainer = _trainer(config, example_gen.outputs["examples"], transform.outputs["transform_graph"], tuner)
    for node in filter(None, (tuner, trainer)):
        node.add_upstream_nodes([anomaly_gate, drift_gate])
    predictor = PanopticPredictor(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        split=EVAL_SPLIT,
        batch_size=config.predict_batch_size,
    )
    baseline_predictor = PanopticPredictor(
        examples=example_gen.outputs["examples"],
        model=baseline.outputs["model"],
        candidate_model=trainer.outputs["model"],
        candidate_predictions=predictor.outputs["predictions"],
        split=EVAL_SPLIT,
        batch_size=config.predict_batch_size,
    ).with_id("BaselinePredictor")
    evaluator = PanopticEvaluator(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        predictions=predictor.outputs["predictions"],
        baseline_model=baseline.outputs["model"],
        baseline_predictions=baseline_predictor.outputs["predictions"],
        pq_floor=config.gate.pq_floor,
        allowed_drop=config.gate.allowed_drop,
        significance=config.gate.significance,
        rules=config.gate.rules,
        analysis=config.analysis,
    )
    infra_validator = InfraValidator(
        model=trainer.outputs["model"],
        examples=example_gen.outputs["examples"],
        split=EVAL_SPLIT,
        num_photos=_INFRA_PHOTOS,
        timeout_s=_INFRA_TIMEOUT_S,
    ).with_id("InfraValidator")
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra_validator.outputs["blessing"],
        custom_config={KEEP_VERSIONS_KEY: config.keep_versions, POINTER_KEY: config.pointer_path},
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=config.serving_dir)
        ),
    )
    training = [*filter(None, [tuner]), trainer, predictor, baseline_predictor, evaluator, infra_validator, pusher]
    return _as_pipeline(config, [*validation, *training], keeps_metadata)


def _as_pipeline(config: PipelineConfig, nodes: list[BaseNode], keeps_metadata: bool) -> Pipeline:
    connection = metadata.sqlite_metadata_connection_config(config.metadata_path) if keeps_metadata else None
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=config.artifacts_dir,
        metadata_connection_config=connection,
        components=nodes,
        enable_cache=True,
        beam_pipeline_args=list(config.beam_args),
    )


def _latest_blessed_model() -> Resolver:
    return Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("latest_blessed_model")


def _require_tfx_components() -> None:
    """Raises before anything runs if a TFX component failed to import, which TFX hides behind None."""
    missing = [name for name in _USED_TFX_COMPONENTS if getattr(tfx_components, name) is None]
    if missing:
        raise ImportError(f"TFX must be installed whole, but these of its components did not import: {missing}")


def _statistics_options() -> Any:
    # Not at the top: TFDV only imports after `tfx.components`, which replaces a module that TFDV lacks.
    import tensorflow_data_validation as tfdv

    # Only scalars and classes: statistics of encoded photos take a gigabyte and are useless.
    return tfdv.StatsOptions(feature_allowlist=list(examples.STATISTICS_KEYS))


def _transform(examples_channel: Channel, schema_channel: Channel) -> tfx_components.Transform:
    """Returns the Transform, which computes facts in a full pass; it stores no Example again."""
    return tfx_components.Transform(
        examples=examples_channel,
        schema=schema_channel,
        preprocessing_fn=f"{data_facts.__name__}.{data_facts.preprocessing_fn.__name__}",
        materialize=False,
        disable_statistics=True,
        # No node would read the cache, a file for each of fifteen analyzers.
        disable_analyzer_cache=True,
        custom_config={"source_sha256": fingerprint_behind(data_facts.__name__)},
    )


def _tuner(config: PipelineConfig, examples_channel: Channel) -> tfx_components.Tuner:
    """Returns the Tuner, whose choice the Trainer uses."""
    from components.training import tuner as tuner_adapter

    return tfx_components.Tuner(
        tuner_fn=f"{tuner_adapter.__name__}.{tuner_adapter.tuner_fn.__name__}",
        examples=examples_channel,
        train_args=trainer_pb2.TrainArgs(splits=[TRAIN_SPLIT]),
        eval_args=trainer_pb2.EvalArgs(splits=[EVAL_SPLIT]),
        custom_config={
            tuner_adapter.TUNING_KEY: json.dumps(dataclasses.asdict(config.tuning), sort_keys=True),
            **_training_settings(config, tuner_adapter.__name__),
        },
    )


def _trainer(
    config: PipelineConfig,
    examples_channel: Channel,
    transform_graph_channel: Channel,
    tuner: tfx_components.Tuner | None,
) -> tfx_components.Trainer:
    return tfx_components.Trainer(
        run_fn=f"{trainer_adapter.__name__}.{trainer_adapter.run_fn.__name__}",
        examples=examples_channel,
        transform_graph=transform_graph_channel,
        train_args=trainer_pb2.TrainArgs(splits=[TRAIN_SPLIT]),
        eval_args=trainer_pb2.EvalArgs(splits=[EVAL_SPLIT]),
        hyperparameters=tuner.outputs["best_hyperparameters"] if tuner else None,
        custom_config=_training_settings(config, trainer_adapter.__name__)
        | {trainer_adapter.CHECKPOINTS_KEY: config.checkpoints_dir},
    )


def _training_settings(config: PipelineConfig, adapter: str) -> dict[str, str]:
    """Returns what a training depends on besides the Examples, so that the cache sees it."""
    return {
        trainer_adapter.EXPERIMENT_KEY: json.dumps(experiment_config.to_dict(config.experiment), sort_keys=True),
        "init_checkpoint_sha256": initial_weights_digest(config.experiment.task.init_checkpoint),
        "source_sha256": fingerprint_behind(adapter),
    }
