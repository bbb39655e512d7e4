"""Trains and evaluates an experiment from the command line, with the flags and override names of tf-maskformer.

    python -m maskformer_model.train --experiment maskformer_coco_panoptic --mode train_and_eval --model_dir DIR \\
        --params_override "task.train_data.input_path=DIR/train-*,task.validation_data.input_path=DIR/val-*"

`--mode train` continues where an earlier run in `--model_dir` stopped. `eval` scores the weights that were trained
in `--model_dir`, or where there are none those that `task.init_checkpoint` names; it prints PQ, mIoU and AP, what the
task is judged by first, and which weights they are of. `train_and_eval`
scores every `trainer.validation_interval` steps and at the end. `continuous_eval` waits for checkpoints of a job that
trains elsewhere and scores each.

Where no input path is set, the folder in the environment variable TFRECORDS_DIR is read: `train*.tfrecord*` and
`val*.tfrecord*`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from maskformer_model.command_errors import run_command
from maskformer_model.command_parser import CommandParser
from maskformer_model.config.files import WEIGHTS_FILE

if TYPE_CHECKING:
    from maskformer_model.config import ExperimentConfig, TaskConfig

TRAIN, EVAL, TRAIN_AND_EVAL, CONTINUOUS_EVAL = "train", "eval", "train_and_eval", "continuous_eval"
MODES = (TRAIN, EVAL, TRAIN_AND_EVAL, CONTINUOUS_EVAL)
DEFAULT_EXPERIMENT, DEFAULT_MODEL_DIR = "maskformer_coco_panoptic", os.path.join("runs", "train")
RECORDS_VARIABLE = "TFRECORDS_DIR"
EVALUATION_FILE = "evaluation.json"
EXIT_FAILED = 1
STOPPED_EXIT_CODE = 143  # What a shell reports of a process that SIGTERM ended.


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run(make_parser().parse_args(arguments))


def run(options: argparse.Namespace, prepare: Callable[[], None] = lambda: None) -> int:
    """Trains or evaluates as the options say, after what `prepare` does; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("absl").setLevel(logging.WARNING)
    return run_command(
        "maskformer_model.train",
        lambda: _run_or_stop(options, prepare),
        status=EXIT_FAILED,
        shows_traceback=options.traceback,
    )


def _run_or_stop(options: argparse.Namespace, prepare: Callable[[], None]) -> int:
    prepare()
    try:
        return _run(read_config(options, os.environ), options)
    except RuntimeError as error:
        if type(error).__name__ != "TrainingInterruptedError":
            raise
        print(error, file=sys.stderr)
        return STOPPED_EXIT_CODE


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = CommandParser(
        prog="python -m maskformer_model.train",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    experiment_help = f"a file of maskformer_model/experiments (default: {DEFAULT_EXPERIMENT}, or that of --init)"
    parser.add_argument("--experiment", help=experiment_help)
    init_help = (
        "start from this checkpoint, with its network (what `maskformer convert` or a training wrote); without "
        "--experiment also with a short schedule, and photos and batches that fit this machine"
    )
    parser.add_argument("--init", metavar="DIR", default="", help=init_help)
    parser.add_argument("--mode", choices=MODES, default=TRAIN_AND_EVAL, help="default: %(default)s")
    model_dir_help = "checkpoints, curves, TensorBoard files, weights (default: %(default)s)"
    parser.add_argument("--model_dir", default=DEFAULT_MODEL_DIR, help=model_dir_help)
    parser.add_argument("--tpu", default="", help='name or address of a TPU; "local" on a TPU VM')
    parser.add_argument("--config_file", type=pathlib.Path, help="yaml with settings, over the experiment's")
    parser.add_argument("--params_override", default="", help="a.b=c,... over both")
    parser.add_argument(
        "--categories", help="COCO json with `categories`; by default the categories.json of the records"
    )
    parser.add_argument(
        "--timeout_s", type=float, default=3600.0, help="continuous_eval: stop after so long without news"
    )
    parser.add_argument("--traceback", action="store_true", help="show where in the program an error arose")
    return parser


def read_config(options: argparse.Namespace, environment: Mapping[str, str]) -> ExperimentConfig:
    """Returns the experiment with the yaml file, the overrides and the folder of records applied, in this order.

    Raises:
        KeyError: if the experiment or a setting is unknown.
        ValueError: if a value does not fit, or a needed input path is missing.
    """
    from maskformer_model import config as config_lib
    from maskformer_model import experiments
    from maskformer_model.config.settings_file import read_settings

    config = experiments.get(options.experiment or DEFAULT_EXPERIMENT)
    if options.init:
        from maskformer_model.training import fine_tuning

        config = fine_tuning.started_from(config if options.experiment else None, options.init)
        if not options.experiment:
            config, fit = fine_tuning.for_this_machine(config, options.init)
            print(fit.describe(), file=sys.stderr)
    if options.config_file:
        config = config_lib.merge(config, read_settings(options.config_file, "--config_file"))
    config = config_lib.override(config, options.params_override)
    needed = {"train_data": options.mode in (TRAIN, TRAIN_AND_EVAL), "validation_data": options.mode != TRAIN}
    for name, pattern in (("train_data", "train*.tfrecord*"), ("validation_data", "val*.tfrecord*")):
        path, folder = getattr(config.task, name).input_path, environment.get(RECORDS_VARIABLE, "")
        if not path and folder:
            path = os.path.join(folder, pattern)
        if needed[name] and not path:
            raise ValueError(
                f"`task.{name}.input_path` or the environment variable {RECORDS_VARIABLE} must say where the records "
                "are. Received: neither"
            )
        config = config_lib.merge(config, {"task": {name: {"input_path": path}}})
    return config


def _run(config: ExperimentConfig, options: argparse.Namespace) -> int:
    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    from maskformer_model.backend import distribution
    from maskformer_model.categories import CategoryTable
    from maskformer_model.data.examples import categories_path
    from maskformer_model.training import loop

    records = config.task.train_data.input_path or config.task.validation_data.input_path
    categories = CategoryTable.load(options.categories or categories_path(records))
    config = loop.with_num_classes(config, categories.num_classes)
    strategy = distribution.make_strategy(config.runtime.distribution_strategy, options.tpu)
    if options.mode == EVAL:
        return _evaluate(config, categories, options.model_dir)
    if options.mode == CONTINUOUS_EVAL:
        return _evaluate_continuously(config, categories, options.model_dir, options.timeout_s)
    config = _with_validation(config, options.mode)
    print(f"Curves and pictures: tensorboard --logdir {options.model_dir}", file=sys.stderr)
    result = loop.train(
        config,
        train_files=[config.task.train_data.input_path],
        eval_files=[config.task.validation_data.input_path] if options.mode == TRAIN_AND_EVAL else None,
        categories=categories,
        model_dir=options.model_dir,
        strategy=strategy,
    )
    print(f"Export it: maskformer export --weights {options.model_dir} --output DIR", file=sys.stderr)
    step = int(result.checkpoint.rpartition("-")[2])
    row = next((row for row in result.history if row["step"] == step), {})
    if options.mode == TRAIN_AND_EVAL and "pq" in row:  # One worker of several has the scores.
        _report(options.model_dir, step, row, config.task, result.checkpoint)
    return 0


def _with_validation(config: ExperimentConfig, mode: str) -> ExperimentConfig:
    interval = 0 if mode == TRAIN else config.trainer.validation_interval or config.trainer.train_steps
    return dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, validation_interval=interval))


def _evaluate(config: ExperimentConfig, categories: Any, model_dir: str) -> int:
    """Scores what was trained in the folder, or else `task.init_checkpoint`."""
    from maskformer_model.pretrained.initialize import build_network, initialize
    from maskformer_model.pretrained.training_run import trained_weights

    trained = trained_weights(model_dir)
    if not trained and not config.task.init_checkpoint:
        raise FileNotFoundError(
            f"`--model_dir` must hold a training run, or `task.init_checkpoint` name a whole model. "
            f"Received: {model_dir}, which has neither {WEIGHTS_FILE} nor a checkpoint"
        )
    if not trained and config.task.init_checkpoint_modules != "all":
        raise ValueError(
            f"Nothing was trained in `--model_dir` {model_dir}, and `task.init_checkpoint` "
            f"({config.task.init_checkpoint}) gives a backbone to start a training from, which cannot be scored. Name "
            "the folder of a training run, or a whole model with `task.init_checkpoint_modules=all`"
        )
    network = build_network(config.task.model)
    initialize(network, model_dir if trained else config.task.init_checkpoint, "all", categories=categories)
    scores = _score(network, config, categories)
    _report(model_dir, None, scores, config.task, trained or config.task.init_checkpoint)
    return 0


def _evaluate_continuously(config: ExperimentConfig, categories: Any, model_dir: str, timeout_s: float) -> int:
    import tensorflow as tf

    from maskformer_model.pretrained.initialize import build_network
    from maskformer_model.pretrained.training_run import set_network_values

    network = build_network(config.task.model)
    for path in tf.train.checkpoints_iterator(model_dir, timeout=timeout_s):
        set_network_values(network, path)
        step = int(path.rpartition("-")[2])
        _report(model_dir, step, _score(network, config, categories), config.task, path)
        if step >= config.trainer.train_steps:
            break
    return 0


def _score(network: Any, config: ExperimentConfig, categories: Any) -> dict[str, float]:
    from maskformer_model.training.evaluator import Evaluator

    return Evaluator(network, categories, config, [config.task.validation_data.input_path]).evaluate()


def _report(model_dir: str, step: int | None, fields: Mapping[str, float], task: TaskConfig, weights: str) -> None:
    """Prints the scores, the task's own first, and which weights they are of; writes both beside the model."""
    import tensorflow as tf

    from maskformer_model.config.scores import SCORE_LABELS, SCORE_OF_TASK
    from maskformer_model.metrics.average_precision import counted_words

    first = SCORE_OF_TASK[task.kind]
    scores = {name: fields[name] for name in sorted(SCORE_LABELS, key=lambda name: name != first) if name in fields}
    where = "" if step is None else f"step {step}: "
    print(where + ", ".join(f"{SCORE_LABELS[name]} {value:.4f}" for name, value in scores.items()))
    if "ap" in scores and (words := counted_words(task.inference.max_instances)):
        print(f"AP counts {words}.")
    print(f"These are the scores of {weights}", flush=True)
    tf.io.gfile.makedirs(model_dir)
    name = EVALUATION_FILE if step is None else f"evaluation-{step}.json"
    with tf.io.gfile.GFile(os.path.join(model_dir, name), "w") as file:
        json.dump({"step": step, "weights": weights, **scores}, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
