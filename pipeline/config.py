"""The settings of one run of the pipeline: data, experiment, gate, root. One frozen value, checked when it is made.

Flags become this value in `flags`; `maskformer_pipeline.create_pipeline` reads nothing else. Imports nothing heavy,
so that a wrong flag is answered at once. What an experiment means is left to `maskformer_model.config`.
"""

from __future__ import annotations

import dataclasses
import os

from components.coco_example_gen.options import IngestOptions
from components.panoptic_evaluator.gate.config import GateConfig
from components.panoptic_evaluator.scoring.analysis_config import AnalysisConfig
from components.training.tuning import TuningConfig, trial_experiment
from maskformer_model.config import ExperimentConfig
from maskformer_model.config.rules import require, require_no_pattern

BLOCK, WARN = "block", "warn"
POINTER_PARTS = ("blessed", "LATEST.json")
DEFAULT_BEAM_ARGS = ("--runner=FnApiRunner", "--direct_num_workers=1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestStepConfig:
    """The settings of a run's data: where it is and what is checked.

    Attributes:
        data_dir: The data set's folder, in any layout of docs/ingest.md.
        options: Which photos become Examples, and how many bad records are accepted.
        on_anomalies: "block" stops the run when the statistics break the schema, "warn" lets it continue.
        on_drift: "block" or "warn" when the class distribution has changed since the last blessed model's training.
        max_class_drift: The largest change of one class's share of the segments, or of the labelled pixels, that does
            not count as drift, 0..1.

    Raises:
        ValueError: if a value breaks its rule.
    """

    data_dir: str
    options: IngestOptions = IngestOptions()
    on_anomalies: str = BLOCK
    on_drift: str = WARN
    max_class_drift: float = 0.1

    def __post_init__(self):
        require(bool(self.data_dir), "`data_dir` must name a folder.", repr(self.data_dir))
        for name in ("on_anomalies", "on_drift"):
            action = getattr(self, name)
            require(action in (BLOCK, WARN), f"`{name}` must be {BLOCK!r} or {WARN!r}.", repr(action))
        require(0 <= self.max_class_drift <= 1, "`max_class_drift` must be in 0..1.", self.max_class_drift)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """All settings of one run.

    Attributes:
        root: The folder for everything that a run writes.
        data: The settings of the data, see `IngestStepConfig`.
        experiment_name: The experiment's name in reports.
        experiment: The experiment to train, with its overrides applied.
        tuning: The settings that a Tuner chooses before training; by default none, and then there is no Tuner.
        gate: The rules for pushing a model, see `GateConfig`.
        analysis: The evaluation's slices, class groups and intervals.
        predict_batch_size: How many photos of one padded size are predicted together. Above 1, results can differ in
            the last bits with the other photos in the batch.
        keep_versions: How many pushed models are kept for a rollback.
        beam_args: The arguments of every Beam step. They name a runner; Beam's default one downloads a program.
        name: The pipeline's name. Runs with the same name and root reuse results and compare models.
        span: The name of this run's data in the list of runs; may be empty.
        validates_only: Whether to check the data and stop before training.
        step_attempts: How many times a failing node is tried in total.
        retry_wait_s: The pause before a node is tried again, in seconds; it doubles with each attempt.
        checkpoints_dir: The folder of checkpoints of unfinished trainings, from which an interrupted run continues. If
            it is empty, checkpoints are in the Trainer's own output, which no later run finds.
    """

    root: str
    data: IngestStepConfig
    experiment_name: str
    experiment: ExperimentConfig
    tuning: TuningConfig = TuningConfig()
    gate: GateConfig = GateConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    predict_batch_size: int = 1
    keep_versions: int = 5
    beam_args: tuple[str, ...] = DEFAULT_BEAM_ARGS
    name: str = "maskformer"
    span: str = ""
    validates_only: bool = False
    step_attempts: int = 1
    retry_wait_s: float = 10.0
    checkpoints_dir: str = ""

    def __post_init__(self):
        require(bool(self.root), "`root` must name a folder.", repr(self.root))
        require_no_pattern(self.root, "root")
        require(bool(self.name), "`name` must not be empty.", repr(self.name))
        for name in ("keep_versions", "predict_batch_size"):
            require(getattr(self, name) > 0, f"`{name}` must be positive.", getattr(self, name))
        # Refuses an unknown setting now, not after the data has been read.
        for setting, options in self.tuning.values().items():
            for option in options:
                trial_experiment(self.experiment, self.tuning, {setting: option})
        require(self.step_attempts > 0, "`step_attempts` must be positive.", self.step_attempts)
        require(self.retry_wait_s >= 0, "`retry_wait_s` must not be negative.", self.retry_wait_s)

    @property
    def artifacts_dir(self) -> str:
        """Returns the folder of the nodes' artifacts."""
        return os.path.join(self.root, "pipeline")

    @property
    def metadata_path(self) -> str:
        """Returns the path of ML Metadata's sqlite file, which records runs and artifacts."""
        return os.path.join(self.root, "metadata.sqlite")

    @property
    def serving_dir(self) -> str:
        """Returns the folder of pushed models, with one folder per version."""
        return os.path.join(self.root, "serving")

    @property
    def pointer_path(self) -> str:
        """Returns the path of the file that names the last pushed model; see `components.pushing.model_pointer`."""
        return os.path.join(self.root, *POINTER_PARTS)
