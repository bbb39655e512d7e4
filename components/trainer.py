"""The Trainer's `run_fn`: TFX's arguments in, `maskformer_model.training` and `.export` called, no more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

EXPERIMENT_KEY = "experiment"


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports one model.

    Args:
        fn_args: `custom_config["experiment"]` holds the experiment as json; `train_files` are the patterns of the
            train split, whose artifact also holds the categories; `transform_graph_path`, if there is one, holds the
            facts of the data that travel with the model; `hyperparameters` are what a Tuner before it chose.

    Raises:
        KeyError: if the experiment is absent.
    """
    if EXPERIMENT_KEY not in (fn_args.custom_config or {}):
        raise KeyError(f"`custom_config` must hold {EXPERIMENT_KEY!r}. Received: {fn_args.custom_config}")
    from components import data_facts
    from components.tuning import with_choice
    from maskformer_model import config as config_lib
    from maskformer_model import distribution, examples, export, training
    from maskformer_model.categories import CategoryTable

    config = config_lib.from_dict(json.loads(fn_args.custom_config[EXPERIMENT_KEY]))
    if fn_args.hyperparameters:
        config = with_choice(config, fn_args.hyperparameters["values"])
    categories = CategoryTable.load(examples.categories_path(fn_args.train_files[0]))
    result = training.train(
        config,
        train_files=fn_args.train_files,
        categories=categories,
        model_dir=fn_args.model_run_dir,
        eval_files=fn_args.eval_files,
        strategy=distribution.make_strategy(config.runtime.distribution_strategy),
    )
    graph = fn_args.transform_graph_path
    facts = data_facts.read_facts(graph, categories) if graph else None
    export.export_saved_model(
        result.network, categories, result.config, fn_args.serving_model_dir, result.history, data_facts=facts
    )
