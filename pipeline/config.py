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
from maskformer_model.config.rules import require

BLOCK, WARN = "block", "warn"
POINTER_PARTS = ("blessed", "LATEST.json")
DEFAULT_BEAM_ARGS = ("--runner=FnApiRunner", "--direct_num_workers=1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestStepConfig:
    """Which data is read, and what it must be like.

    Attributes:
        data_dir: The data set's folder, in any layout of docs/ingest.md.
        options: Which photos become Examples, and how many bad records are borne.
        on_anomalies: "block" stops the run when the statistics break the schema, "warn" lets it continue.
        on_drift: the same, when the class distribution has changed since the last blessed model was trained.
        max_class_drift: largest change of one class's share of the segments, or of the labelled pixels, that is no
            drift, 0..1.

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
    """Everything about one run.

    Attributes:
        root: Folder of everything a run leaves behind.
        data: See `IngestStepConfig`.
        experiment_name: What the experiment is called in reports.
        experiment: What is trained; overrides are already in it.
        tuning: Which of its settings a Tuner chooses first; by default none, and there is no Tuner.
        gate: See `GateConfig`.
        analysis: Slices, class groups and intervals of the evaluation.
        predict_batch_size: Photos of one padded size that the evaluated network sees at once. Above 1 the last bits of
            its arithmetic may depend on which photos share a batch.
        keep_versions: How many pushed models stay, to roll back to.
        beam_args: Of every Beam step. Beam's default runner downloads a program, so another one is named.
        name: The name of the pipeline: results are reused, and models compared, among runs of one name and root.
        span: What lists of runs call this run's data; empty where it has no name.
        validates_only: Stop before training: is this data fit to be learnt from?
        step_attempts: How often a failing node is tried in all.
        retry_wait_s: Pause before a node is tried again; it doubles from one attempt to the next.
        checkpoints_dir: Where trainings keep their checkpoints until they are finished, so that a run that was cut off
            goes on; empty: in the Trainer's own output, which no later run finds.
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
        require(bool(self.name), "`name` must not be empty.", repr(self.name))
        for name in ("keep_versions", "predict_batch_size"):
            require(getattr(self, name) > 0, f"`{name}` must be positive.", getattr(self, name))
        # A setting that does not exist is better heard of now than after the data has been read.
        for setting, options in self.tuning.values().items():
            for option in options:
                trial_experiment(self.experiment, self.tuning, {setting: option})
        require(self.step_attempts > 0, "`step_attempts` must be positive.", self.step_attempts)
        require(self.retry_wait_s >= 0, "`retry_wait_s` must not be negative.", self.retry_wait_s)

    @property
    def artifacts_dir(self) -> str:
        """Where the nodes write their artifacts."""
        return os.path.join(self.root, "pipeline")

    @property
    def metadata_path(self) -> str:
        """The sqlite file of ML Metadata: what ran with what, and where it is."""
        return os.path.join(self.root, "metadata.sqlite")

    @property
    def serving_dir(self) -> str:
        """Where pushed models are, one folder per version."""
        return os.path.join(self.root, "serving")

    @property
    def pointer_path(self) -> str:
        """The file that names the model that was pushed last; see `components.pushing.model_pointer`."""
        return os.path.join(self.root, *POINTER_PARTS)
