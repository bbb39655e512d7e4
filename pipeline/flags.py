"""Defines the flags of a run and turns them into one `PipelineConfig`.

`run_local.py`, the retraining loop and the compiler read the same flags. Nothing heavy is imported here.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.coco_example_gen.layouts.find import LAYOUT_NAMES
from components.coco_example_gen.layouts.split_source import BACKGROUND, VOID
from components.coco_example_gen.options import AUTO_LAYOUT, IngestOptions
from components.panoptic_evaluator.gate.config import GateConfig
from components.panoptic_evaluator.gate.rules import NOT_WORSE, POINT
from components.panoptic_evaluator.scoring.analysis_config import AnalysisConfig
from components.training.tuning import TuningConfig
from maskformer_model.command_parser import CommandParser
from pipeline.config import BLOCK, DEFAULT_BEAM_ARGS, WARN, IngestStepConfig, PipelineConfig
from pipeline.local_run import generated_data
from pipeline.project_folder import default_root, setup_file

if TYPE_CHECKING:
    from maskformer_model.config import ExperimentConfig

GENERATED_EXPERIMENT, COCO_EXPERIMENT = "generated_scenes_quick", "coco_small"
_DRIFT_HELP = "what to do when the class distribution has changed (default: %(default)s)"


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line; unknown flags end the program with status 2."""
    parser = CommandParser(
        prog="run_local.py",
        description="Turns a data set into a served MaskFormer. Without --data it draws its own scenes.",
    )
    add = parser.add_argument
    add("--data", metavar="DIR", help="COCO, ADE20K, Cityscapes or Mapillary Vistas (default: drawn scenes)")
    add(
        "--root",
        metavar="DIR",
        default=default_root(),
        help="folder for everything that a run writes (default: %(default)s)",
    )
    experiment_help = f"what to train (default: {GENERATED_EXPERIMENT}, or {COCO_EXPERIMENT} with --data)"
    add("--experiment", metavar="NAME", help=experiment_help)
    init_help = (
        "start from this checkpoint, with its network (what `maskformer convert` or a training wrote, or a --root: the "
        "model that serves there); without --experiment also with a short schedule, and photos and batches that fit "
        "this machine"
    )
    add("--init", metavar="DIR", default="", help=init_help)
    add("--config_file", metavar="FILE", default="", help="yaml with settings, over the experiment's")
    add(
        "--params_override",
        metavar="K=V,...",
        default="",
        help="the experiment's settings, such as trainer.train_steps=100",
    )
    _add_number(
        parser, "--keep_versions", PipelineConfig.keep_versions, "how many pushed models are kept for a rollback"
    )
    _add_tuning_flags(parser.add_argument_group("tuning"))
    _add_retry_flags(parser.add_argument_group("retries"))
    _add_gate_flags(parser.add_argument_group("gate"))
    _add_evaluation_flags(parser.add_argument_group("evaluation"))
    _add_data_flags(parser.add_argument_group("data"))
    return parser.parse_args(argv)


def _add_tuning_flags(group: argparse._ArgumentGroup) -> None:
    tune_help = (
        "a setting to choose by PQ before training, such as trainer.optimizer.learning_rate=3e-4|7e-4; may repeat"
    )
    group.add_argument("--tune", metavar="SETTING=A|B|...", action="append", default=[], help=tune_help)
    _add_number(group, "--tune_trials", TuningConfig.max_trials, "largest number of combinations to try")
    _add_number(
        group, "--tune_steps", TuningConfig.trial_steps, "steps of each trial; 0: a quarter of the training's steps"
    )


def _add_retry_flags(group: argparse._ArgumentGroup) -> None:
    _add_number(
        group, "--step_attempts", PipelineConfig.step_attempts, "how many times a failing node is tried in total"
    )
    _add_number(group, "--retry_wait_s", PipelineConfig.retry_wait_s, "pause before the next try; it doubles each time")


def _add_gate_flags(group: argparse._ArgumentGroup) -> None:
    _add_number(group, "--pq_floor", GateConfig.pq_floor, "smallest PQ with which a model is pushed, 0..1")
    _add_number(group, "--allowed_pq_drop", GateConfig.allowed_drop, "how far below the last blessed model's PQ, 0..1")

    significance_help = "compare PQ's confidence interval or its value (default: %(default)s)"
    group.add_argument(
        "--significance", choices=(NOT_WORSE, POINT), default=GateConfig.significance, help=significance_help
    )
    rule_help = "a further rule, such as 'pq[class=person] >= baseline - 0.02'; may be repeated"
    group.add_argument("--gate_rule", metavar="RULE", action="append", default=[], help=rule_help)


def _add_evaluation_flags(group: argparse._ArgumentGroup) -> None:
    slice_help = "feature of the Examples to slice by, such as image/statistics/brightness; may be repeated"
    group.add_argument("--slice", metavar="FEATURE", action="append", default=[], help=slice_help)
    group_help = "classes whose PQ is also reported together, such as pets=cat,dog; may be repeated"
    group.add_argument("--class_group", metavar="NAME=CLASS,...", action="append", default=[], help=group_help)
    batch_help = "photos of one padded size predicted together; above 1, results can differ in the last bits"
    _add_number(group, "--predict_batch_size", PipelineConfig.predict_batch_size, batch_help)


def _add_data_flags(group: argparse._ArgumentGroup) -> None:
    _add_number(group, "--max_train_images", 0, "the first N by file name; 0 takes all")
    _add_number(group, "--max_eval_images", 0, "the first N by file name; 0 takes all")
    group.add_argument("--evaluate_on_train", action="store_true", help="evaluate on the train photos")
    share = IngestOptions.max_kept_aside_share
    _add_number(group, "--max_kept_aside_share", share, "stop when a larger share of the records is bad, 0..1")
    anomalies_help = "what to do when the data's statistics break the schema (default: %(default)s)"
    group.add_argument(
        "--on_anomalies", choices=(BLOCK, WARN), default=IngestStepConfig.on_anomalies, help=anomalies_help
    )
    group.add_argument("--on_drift", choices=(BLOCK, WARN), default=IngestStepConfig.on_drift, help=_DRIFT_HELP)
    drift_help = "how far a class's share may differ from the last blessed model's data before it counts as drift, 0..1"
    _add_number(group, "--max_class_drift", IngestStepConfig.max_class_drift, drift_help)
    _add_layout_flags(group)
    group.add_argument("--span", metavar="NAME", default="", help="name of this data in the list of runs")
    group.add_argument("--validate_only", action="store_true", help="check the data and stop before training")
    scenes = generated_data.GeneratedDataConfig
    _add_number(group, "--generated_train_images", scenes.num_train, "number of train scenes")
    _add_number(group, "--generated_eval_images", scenes.num_val, "number of validation scenes")
    _add_number(group, "--generated_seed", scenes.seed, "another seed draws other scenes")


def _add_layout_flags(group: argparse._ArgumentGroup) -> None:
    layouts = (AUTO_LAYOUT, *LAYOUT_NAMES)
    add = group.add_argument
    add(
        "--layout",
        choices=layouts,
        default=AUTO_LAYOUT,
        help="layout of DIR (default: %(default)s, which finds it out)",
    )
    add("--span_pattern", metavar="P", default="", help="read the newest span below DIR, such as span-{SPAN}")
    trust_help = "trust the hashes in DIR/manifest.json (default: hash every file)"
    add("--trust_manifest", action="store_true", help=trust_help)
    share_help = "evaluate on this share of the train photos, by a hash of their ids; 0 takes the validation split"
    _add_number(group, "--eval_share", 0.0, f"{share_help}, or a fifth where there is none")
    add("--things", metavar="A,B", default="", help="label PNGs: classes whose connected regions are separate objects")
    add("--stuff", metavar="A,B", default="", help="single objects (polygons): classes that are stuff, such as wall")
    unlabeled_help = "meaning of pixels without an object in a coco_instances json (default: %(default)s)"
    add("--unlabeled", choices=(BACKGROUND, VOID), default=BACKGROUND, help=unlabeled_help)
    _add_number(group, "--num_shards", 0, "record files per split; 0: one per 256 photos")


def _add_number(group: argparse._ActionsContainer, flag: str, default: int | float, meaning: str) -> None:
    group.add_argument(flag, type=type(default), metavar="N", default=default, help=f"{meaning} (default: {default})")


def config_from_args(args: argparse.Namespace) -> PipelineConfig:
    """Turns flags into the run's config.

    Raises:
        KeyError: if the experiment or a setting is unknown.
        ValueError: if a value breaks a rule.
    """
    from maskformer_model import config as experiment_config

    root = _absolute(args.root)
    experiment, settings = _experiment_from_args(args)
    settings = experiment_config.override(settings, args.params_override)
    return PipelineConfig(
        root=root,
        data=IngestStepConfig(
            data_dir=_absolute(args.data) if args.data else os.path.join(root, "data", "generated"),
            options=IngestOptions(
                max_train_images=args.max_train_images,
                max_eval_images=args.max_eval_images,
                evaluate_on_train=args.evaluate_on_train,
                max_kept_aside_share=args.max_kept_aside_share,
                num_shards=args.num_shards,
                layout=args.layout,
                eval_share=args.eval_share,
                things=tuple(name for name in args.things.split(",") if name),
                stuff=tuple(name for name in args.stuff.split(",") if name),
                unlabeled=args.unlabeled,
                span_pattern=args.span_pattern,
                trust_manifest=args.trust_manifest,
            ),
            on_anomalies=args.on_anomalies,
            on_drift=args.on_drift,
            max_class_drift=args.max_class_drift,
        ),
        experiment_name=experiment,
        experiment=settings,
        tuning=TuningConfig(choices=tuple(args.tune), max_trials=args.tune_trials, trial_steps=args.tune_steps),
        gate=GateConfig(
            pq_floor=args.pq_floor,
            allowed_drop=args.allowed_pq_drop,
            significance=args.significance,
            rules=tuple(args.gate_rule),
        ),
        analysis=AnalysisConfig(slices=tuple(args.slice), class_groups=class_groups_from_args(args.class_group)),
        keep_versions=args.keep_versions,
        predict_batch_size=args.predict_batch_size,
        span=args.span,
        validates_only=args.validate_only,
        step_attempts=args.step_attempts,
        retry_wait_s=args.retry_wait_s,
        checkpoints_dir=os.path.join(root, "checkpoints"),
        beam_args=(*DEFAULT_BEAM_ARGS, *_package_args()),
    )


def _package_args() -> tuple[str, ...]:
    """Names what Beam sends to remote workers; without it TFX packs itself again for every node.

    Where a wheel was installed there is nothing to pack: its workers must have the wheel, too.
    """
    path = setup_file()
    return (f"--setup_file={path}",) if path else ()


def _experiment_from_args(args: argparse.Namespace) -> tuple[str, ExperimentConfig]:
    """Returns the experiment's name and settings: its own, then the checkpoint's, then those of the yaml file."""
    from maskformer_model import config as experiment_config
    from maskformer_model import experiments

    name = args.experiment or (COCO_EXPERIMENT if args.data else GENERATED_EXPERIMENT)
    settings = experiments.get(name)
    if args.init:
        from maskformer_model.training import fine_tuning

        checkpoint = _checkpoint_of(args.init)
        settings = fine_tuning.started_from(settings if args.experiment else None, checkpoint)
        if not args.experiment:
            name = f"fine-tuning of {os.path.basename(os.path.abspath(args.init))}"
            settings, fit = fine_tuning.for_this_machine(settings, checkpoint)
            print(fit.describe(), flush=True)
    if args.config_file:
        import yaml

        text = pathlib.Path(args.config_file).read_text(encoding="utf-8")
        settings = experiment_config.merge(settings, yaml.safe_load(text) or {})
    return name, settings


def _checkpoint_of(path: str) -> str:
    """Returns the folder of the weights that `--init` means: of a pipeline's folder, the serving model's."""
    if not os.path.isdir(os.path.join(path, "serving")):
        return path
    from pipeline import lineage

    model_run = lineage.model_run_that_serves(path)
    if model_run is None:
        raise ValueError(f"`--init` must be a checkpoint, or a folder in which a model serves. Received: {path}")
    return model_run


def class_groups_from_args(texts: Sequence[str]) -> dict[str, list[str]]:
    """Returns the classes of each group, read from `NAME=CLASS,...`.

    Raises:
        ValueError: if a text has another form, or a name comes twice.
    """
    groups: dict[str, list[str]] = {}
    for text in texts:
        name, _, classes = text.partition("=")
        if not name or not classes or name in groups:
            raise ValueError(f"`--class_group` must be NAME=CLASS,... with each name once. Received: {text!r}")
        groups[name] = classes.split(",")
    return groups


def _absolute(path: str) -> str:
    """Makes a local path absolute, so that a run does not depend on its working folder; keeps other addresses."""
    return path if "://" in path else os.path.abspath(path)


def generated_data_from_args(args: argparse.Namespace) -> generated_data.GeneratedDataConfig | None:
    """Returns which scenes to draw, or None if the user brings data.

    Raises:
        ValueError: if a number of scenes is not positive.
    """
    if args.data:
        return None
    return generated_data.GeneratedDataConfig(
        num_train=args.generated_train_images, num_val=args.generated_eval_images, seed=args.generated_seed
    )
