"""Defines the Trainer's `run_fn`, which calls `maskformer_model.training.loop` and `.export` with TFX's arguments.

TFX gives every execution a folder of its own, so an interrupted training would start again from step 0. Where
`custom_config` names a folder for checkpoints, they are kept there, by the hash of experiment, code and Examples, until
the model is exported: a training with the same settings continues from them.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

EXPERIMENT_KEY = "experiment"
CHECKPOINTS_KEY = "checkpoints_dir"
# Compiled nodes that ask for GPUs set it in their container to the number of them.
GPUS_VARIABLE = "MASKFORMER_GPUS"


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports one model.

    Args:
        fn_args: `custom_config["experiment"]` holds the experiment as json; `train_files` are the patterns of the
            train split, whose artifact also holds the categories; `transform_graph_path`, if there is one, holds the
            facts of the data that travel with the model; `hyperparameters` are what a Tuner before it chose.
            `custom_config["checkpoints_dir"]`, if there is one, is where unfinished trainings are.

    Raises:
        KeyError: if the experiment is absent.
        RuntimeError: if the container asks for more GPUs than TensorFlow sees.
    """
    if EXPERIMENT_KEY not in (fn_args.custom_config or {}):
        raise KeyError(f"`custom_config` must hold {EXPERIMENT_KEY!r}. Received: {fn_args.custom_config}")
    require_gpus(int(os.environ.get(GPUS_VARIABLE, "0")))
    import tensorflow as tf
    from absl import logging

    from components.data_validation import data_facts
    from components.training.tuning import with_choice
    from maskformer_model import config as config_lib
    from maskformer_model.backend import distribution
    from maskformer_model.categories import CategoryTable
    from maskformer_model.data import examples
    from maskformer_model.export import saved_model
    from maskformer_model.training import loop
    from maskformer_model.training.trackers import tracked_run

    config = config_lib.from_dict(json.loads(fn_args.custom_config[EXPERIMENT_KEY]))
    if fn_args.hyperparameters:
        config = with_choice(config, fn_args.hyperparameters["values"])
    categories = CategoryTable.load(examples.categories_path(fn_args.train_files[0]))
    told = fn_args.custom_config | {EXPERIMENT_KEY: json.dumps(config_lib.to_dict(config), sort_keys=True)}
    # Photos that choose the result belong to the training: scores of others must not be compared with theirs.
    chooses = config.trainer.restore_best_weights or config.trainer.early_stopping_patience
    files = [*fn_args.train_files, *(fn_args.eval_files if chooses else ())]
    training_dir = stable_training_dir(told, files) or fn_args.model_run_dir
    logging.info("Training in %s.", training_dir)
    result = loop.train(
        config,
        train_files=fn_args.train_files,
        categories=categories,
        model_dir=training_dir,
        eval_files=fn_args.eval_files,
        strategy=distribution.make_strategy(config.runtime.distribution_strategy),
        lineage=_lineage(fn_args),
    )
    graph = fn_args.transform_graph_path
    facts = data_facts.read_facts(graph, categories) if graph else None
    saved_model.export_saved_model(
        result.network, categories, result.config, fn_args.serving_model_dir, result.history, data_facts=facts
    )
    tracked_run.report_model(training_dir, fn_args.serving_model_dir)
    if training_dir != fn_args.model_run_dir:
        copy_tree(training_dir, fn_args.model_run_dir)
        # Last: until here an interrupted run finds a finished training and only exports again.
        tf.io.gfile.rmtree(training_dir)


def _lineage(fn_args: FnArgs) -> dict[str, str]:
    """Returns where the training's code and data come from, for the tracker."""
    told = {name: value for name, value in (fn_args.custom_config or {}).items() if name.endswith("_sha256")}
    return told | {
        "transform_graph": fn_args.transform_graph_path or "",
        "base_model": fn_args.base_model or "",
        "model_run": fn_args.model_run_dir,
        "model": fn_args.serving_model_dir,
    }


def require_gpus(count: int) -> None:
    """Stops a training whose node was given GPUs that TensorFlow does not see, so that they are not paid for unused.

    Raises:
        RuntimeError: if TensorFlow sees fewer than `count`.
    """
    if not count:
        return
    import tensorflow as tf

    seen = len(tf.config.list_physical_devices("GPU"))
    if seen < count:
        raise RuntimeError(
            f"TensorFlow must see the {count} GPUs that the Trainer's node asks for. Build the image of "
            "`nodes.Trainer.image` with `docker build -f docker/pipeline.Dockerfile --build-arg ACCELERATOR=cuda`, "
            f"or ask for no accelerator. Received: {seen}"
        )


def stable_training_dir(custom_config: Mapping[str, Any], files: Sequence[str]) -> str:
    """Returns the folder of this very training below `checkpoints_dir`; empty where none is configured.

    Args:
        custom_config: The Trainer's settings, with the experiment as it is trained; every entry counts but where the
            checkpoints are.
        files: Patterns of the record files that decide the result; their names and content count, not where they are.
            Files that CocoExampleGen has written are not read: it noted their hashes beside them.
    """
    if not custom_config.get(CHECKPOINTS_KEY):
        return ""
    import tensorflow as tf

    from components.coco_example_gen.data_manifest import file_sha256

    told = {key: value for key, value in custom_config.items() if key != CHECKPOINTS_KEY}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    noted = _noted_digests(files)
    for path in sorted(path for pattern in files for path in tf.io.gfile.glob(pattern)):
        digest.update(f"\0{os.path.basename(path)}\0{noted.get(path) or file_sha256(path)}".encode())
    return os.path.join(custom_config[CHECKPOINTS_KEY], digest.hexdigest()[:32])


def _noted_digests(patterns: Sequence[str]) -> dict[str, str]:
    """By path of a record file: the hash of its records, where who wrote it has noted that."""
    import tensorflow as tf

    from maskformer_model.data import examples

    noted: dict[str, str] = {}
    for path in sorted({examples.record_digests_path(pattern) for pattern in patterns}):
        if tf.io.gfile.exists(path):
            with tf.io.gfile.GFile(path) as file:
                digests = json.load(file)
            noted |= {posixpath.join(posixpath.dirname(path), name): digest for name, digest in digests.items()}
    return noted


def copy_tree(source: str, target: str) -> None:
    """Copies a folder; files that are there already are overwritten."""
    import tensorflow as tf

    for folder, _, names in tf.io.gfile.walk(source):
        place = os.path.normpath(os.path.join(target, os.path.relpath(folder, source)))
        tf.io.gfile.makedirs(place)
        for name in names:
            tf.io.gfile.copy(os.path.join(folder, name), os.path.join(place, name), overwrite=True)
