"""What one run of the pipeline is told: data, experiment, gate, root. One frozen value, checked at birth.

Flags become this value in `run_local`; `maskformer_pipeline.create_pipeline` reads nothing else. Imports nothing heavy,
so that a wrong flag is answered at once. What an experiment means is left to `maskformer_model.config`.
"""

from __future__ import annotations

import dataclasses
import os

from maskformer_model.config import ExperimentConfig

BLOCK, WARN = "block", "warn"
DEFAULT_BEAM_ARGS = ("--runner=FnApiRunner", "--direct_num_workers=1")


def _require(condition: bool, rule: str, received: object) -> None:
    if not condition:
        raise ValueError(f"{rule} Received: {received}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """Which records become Examples, and how many bad ones are borne.

    Attributes:
        data_dir: Folder in COCO's layout.
        max_train_images: The first so many train photos by file name; 0 takes all.
        max_eval_images: The first so many validation photos by file name; 0 takes all.
        evaluate_on_train: Evaluate on the train photos themselves: shows that a model can overfit them.
        max_kept_aside_share: The run stops when a larger share of the records, 0..1, has to be kept aside.
        on_anomalies: "block" stops the run when the statistics break the schema, "warn" goes on.

    Raises:
        ValueError: if a value breaks its rule.
    """

    data_dir: str
    max_train_images: int = 0
    max_eval_images: int = 0
    evaluate_on_train: bool = False
    max_kept_aside_share: float = 0.1
    on_anomalies: str = BLOCK

    def __post_init__(self):
        _require(bool(self.data_dir), "`data_dir` must name a folder.", repr(self.data_dir))
        for name in ("max_train_images", "max_eval_images"):
            _require(getattr(self, name) >= 0, f"`{name}` must not be negative; 0 takes all.", getattr(self, name))
        _require(
            0 <= self.max_kept_aside_share <= 1, "`max_kept_aside_share` must be in 0..1.", self.max_kept_aside_share
        )
        _require(
            self.on_anomalies in (BLOCK, WARN),
            f"`on_anomalies` must be {BLOCK!r} or {WARN!r}.",
            repr(self.on_anomalies),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateConfig:
    """What a model must reach to be pushed.

    Attributes:
        pq_floor: Smallest PQ that passes, 0..1; 0 lets every model pass.
        allowed_pq_drop: How far PQ may be below the last blessed model's on the same photos, 0..1.

    Raises:
        ValueError: if a value is outside 0..1.
    """

    pq_floor: float = 0.0
    allowed_pq_drop: float = 0.0

    def __post_init__(self):
        for name in ("pq_floor", "allowed_pq_drop"):
            _require(0 <= getattr(self, name) <= 1, f"`{name}` must be in 0..1.", getattr(self, name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Everything about one run.

    Attributes:
        root: Folder of everything a run leaves behind.
        ingest: See `IngestConfig`.
        experiment_name: What the experiment is called in reports.
        experiment: What is trained; overrides are already in it.
        gate: See `GateConfig`.
        beam_args: Of every Beam step. Beam's default runner downloads a program, so another one is named.
        name: Of the pipeline: results are reused, and models compared, among runs of one name and root.
    """

    root: str
    ingest: IngestConfig
    experiment_name: str
    experiment: ExperimentConfig
    gate: GateConfig = GateConfig()
    beam_args: tuple[str, ...] = DEFAULT_BEAM_ARGS
    name: str = "maskformer"

    def __post_init__(self):
        _require(bool(self.root), "`root` must name a folder.", repr(self.root))
        _require(bool(self.name), "`name` must not be empty.", repr(self.name))

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
