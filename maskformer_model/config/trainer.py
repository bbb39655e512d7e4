"""Defines the settings of a training run: machine, length and optimizer."""

from __future__ import annotations

import dataclasses

from maskformer_model.config.rules import require, require_dtype

TENSORBOARD, MLFLOW, WANDB = "tensorboard", "mlflow", "wandb"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """The settings of the machine and the precision of a training run.

    Attributes:
        distribution_strategy: "one_device", "mirrored" (all accelerators of a machine), "multi_worker_mirrored"
            (machines named in `TF_CONFIG`), "tpu", or "auto": what the environment offers.
        mixed_precision_dtype: What layers compute in; weights, losses and the matcher stay float32. "float16" scales
            the loss dynamically.
        seed: The seed of weights, dropout, augmentation and the order of examples.
        deterministic: Two runs of one config on one machine give the same bits (a few percent slower).
        tracker: Where curves, settings, lineage, report and model are sent, besides the run's own folder: "mlflow",
            "wandb" (Weights & Biases), or "tensorboard", whose files are in that folder in any case.
        tracker_uri: The address of the tracker's server; empty: what the tracker's own variables say
            (`MLFLOW_TRACKING_URI`, `WANDB_BASE_URL`).
        tracker_project: MLflow's experiment, or the project of Weights & Biases.
    """

    distribution_strategy: str = "auto"
    mixed_precision_dtype: str = "float32"
    seed: int = 0
    deterministic: bool = False
    tracker: str = TENSORBOARD
    tracker_uri: str = ""
    tracker_project: str = "maskformer"

    def __post_init__(self):
        strategies = ("auto", "one_device", "mirrored", "multi_worker_mirrored", "tpu")
        require(
            self.distribution_strategy in strategies,
            f"`runtime.distribution_strategy` must be one of {strategies}.",
            self.distribution_strategy,
        )
        require_dtype(self.mixed_precision_dtype, "runtime.mixed_precision_dtype")
        trackers = (TENSORBOARD, MLFLOW, WANDB)
        require(self.tracker in trackers, f"`runtime.tracker` must be one of {trackers}.", self.tracker)
        require(bool(self.tracker_project), "`runtime.tracker_project` must have a name.", repr(self.tracker_project))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW as the reference trains (`train_net.py`): PyTorch's formula, full-model clip, slower backbone.

    Attributes:
        learning_rate: The learning rate of everything but the backbone.
        backbone_multiplier: Times `learning_rate` for the backbone.
        layer_decay: Times the rate for each block of a plain ViT that lies in front of another; its tokens learn as its
            first block does. 1: all blocks learn alike.
        undecayed_blocks: So many last blocks keep the whole rate.
        weight_decay: Decoupled; not on norms, embeddings and relative-position tables ...
        decays_everything: ... unless this is set (EoMT).
        clip_norm: Largest global norm of all gradients together; 0 switches clipping off.
        schedule: "constant", "step", "poly", or "two_stage_poly" (EoMT): the backbone waits for the others' warm-up,
            then warms up itself, and each rate falls from the end of its own warm-up on.
        drop_steps: "step": where the rate is multiplied by `drop_factor`.
        drop_factor: "step".
        power: "poly".
        warmup_steps: Linear warm-up from `warmup_factor` times the rate.
        warmup_factor: Start of the warm-up.
        backbone_warmup_steps: "two_stage_poly": the backbone's warm-up, behind `warmup_steps`.
        ema_momentum: Average of the weights that is exported; 0 switches it off.
    """

    learning_rate: float = 1e-4
    backbone_multiplier: float = 0.1
    layer_decay: float = 1.0
    undecayed_blocks: int = 0
    weight_decay: float = 1e-4
    decays_everything: bool = False
    clip_norm: float = 0.01
    schedule: str = "step"
    drop_steps: tuple[int, ...] = ()
    drop_factor: float = 0.1
    power: float = 0.9
    warmup_steps: int = 0
    warmup_factor: float = 1.0
    backbone_warmup_steps: int = 0
    ema_momentum: float = 0.0

    def __post_init__(self):
        require(0 < self.learning_rate <= 1, "`trainer.optimizer.learning_rate` must be in (0, 1].", self.learning_rate)
        schedules = ("constant", "step", "poly", "two_stage_poly")
        require(self.schedule in schedules, f"`trainer.optimizer.schedule` must be one of {schedules}.", self.schedule)
        require(0 < self.layer_decay <= 1, "`trainer.optimizer.layer_decay` must be in (0, 1].", self.layer_decay)
        counts = ("undecayed_blocks", "warmup_steps", "backbone_warmup_steps")
        for name in ("backbone_multiplier", "weight_decay", "clip_norm", *counts):
            require(getattr(self, name) >= 0, f"`trainer.optimizer.{name}` must not be negative.", getattr(self, name))
        require(0 <= self.ema_momentum < 1, "`trainer.optimizer.ema_momentum` must be in [0, 1).", self.ema_momentum)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """The settings of a training run's length, optimizer and output.

    Attributes:
        train_steps: Optimizer steps in all.
        steps_per_loop: Steps between two rows of the curves (history file and TensorBoard).
        checkpoint_interval: Steps between two checkpoints; 0: only at the end.
        validation_interval: Steps between two evaluations of the validation data; 0: none.
        max_to_keep: Checkpoints that are kept, beside the best one.
        early_stopping_patience: After so many evaluations in a row without a better score the training ends; 0: it
            never ends before `train_steps`. The score is PQ, or mIoU or AP for another `task.kind`.
        restore_best_weights: Whether the result has the weights of the evaluation with the best score, not the last.
        accumulation_steps: Parts in which a replica's batch goes through the network, one after the other, before one
            update: the same update with less memory.
        max_skipped_steps: A step whose gradient is not finite changes nothing; after so many in a row the job stops.
        steps_per_execution: Steps that run on the device before Python is asked again.
        optimizer: See `OptimizerConfig`.
        jit_compile: Compile the whole step with XLA (accelerators); the matcher is compiled in any case.
    """

    train_steps: int = 554_400
    steps_per_loop: int = 1000
    checkpoint_interval: int = 5000
    validation_interval: int = 0
    max_to_keep: int = 3
    early_stopping_patience: int = 0
    restore_best_weights: bool = False
    accumulation_steps: int = 1
    max_skipped_steps: int = 10
    steps_per_execution: int = 1
    optimizer: OptimizerConfig = OptimizerConfig()
    jit_compile: bool = False

    def __post_init__(self):
        positive = ("train_steps", "steps_per_loop", "max_to_keep", "accumulation_steps", "max_skipped_steps")
        for name in (*positive, "steps_per_execution"):
            require(getattr(self, name) > 0, f"`trainer.{name}` must be positive.", getattr(self, name))
        for name in ("checkpoint_interval", "validation_interval", "early_stopping_patience"):
            require(getattr(self, name) >= 0, f"`trainer.{name}` must not be negative.", getattr(self, name))
        for name in ("train_steps", "steps_per_loop", "checkpoint_interval", "validation_interval"):
            require(
                getattr(self, name) % self.steps_per_execution == 0,
                f"`trainer.steps_per_execution` ({self.steps_per_execution}) must divide `trainer.{name}`.",
                getattr(self, name),
            )
