"""Exports trained or converted weights: `python -m maskformer_model.export_weights --weights DIR --output DIR`.

`--weights` is what `maskformer convert` or a training run wrote; `--output` becomes a SavedModel that takes photos.
`maskformer serve --model DIR` serves it, `maskformer predict --model DIR` runs it, and it needs none of our Python.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from maskformer_model.command_errors import run_command
from maskformer_model.command_parser import CommandParser
from maskformer_model.config import ExperimentConfig, from_dict, override
from maskformer_model.config.files import CATEGORIES_FILE, EXPERIMENT_FILE, HISTORY_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from maskformer_model.categories import CategoryTable


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; a wrong flag ends the program with status 2."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = CommandParser(prog="python -m maskformer_model.export_weights", description=summary, epilog=details)
    add = parser.add_argument
    weights_help = f"folder with {EXPERIMENT_FILE} and {WEIGHTS_FILE}, or of a training run that is not finished"
    add("--weights", required=True, metavar="DIR", help=weights_help)
    add("--output", required=True, metavar="DIR", help="the SavedModel's folder; must not exist or be empty")
    categories_help = f"COCO json with the classes' names, in their order (default: {CATEGORIES_FILE} in --weights)"
    add("--categories", metavar="FILE", help=categories_help)
    override_help = "settings of the answers, such as task.inference.object_mask_threshold=0.5"
    add("--params_override", metavar="K=V,...", default="", help=override_help)
    return parser.parse_args(argv)


def read_experiment(weights_dir: str) -> ExperimentConfig:
    """Returns the experiment that a folder's weights belong to.

    Raises:
        FileNotFoundError: if the folder holds none.
    """
    path = os.path.join(weights_dir, EXPERIMENT_FILE)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"`--weights` must be a folder with {EXPERIMENT_FILE}, as `maskformer convert` and training write it. "
            f"Received: {weights_dir}"
        )
    with open(path, encoding="utf-8") as file:
        return from_dict(json.load(file))


def read_categories(weights_dir: str, categories_file: str | None, num_classes: int) -> CategoryTable:
    """Returns the names of the network's classes.

    Raises:
        ValueError: if nothing names them, or the file has another number of classes.
    """
    from maskformer_model.categories import CategoryTable

    path = categories_file or os.path.join(weights_dir, CATEGORIES_FILE)
    if not categories_file and not os.path.isfile(path):
        raise ValueError(f"Nothing names the {num_classes} classes of {weights_dir}: give --categories FILE.")
    categories = CategoryTable.load(path)
    if num_classes and categories.num_classes != num_classes:
        raise ValueError(f"{path} must name the network's {num_classes} classes. Received: {categories.num_classes}")
    return categories


def export(weights_dir: str, output: str, categories_file: str | None = None, overrides: str = "") -> ExperimentConfig:
    """Writes the SavedModel, whole or not at all.

    Args:
        weights_dir: What `convert` or a training run wrote.
        output: The folder to write; must not exist or be empty.
        categories_file: Names the classes; None takes the file in `weights_dir`.
        overrides: Settings over those of the experiment, as `--params_override` takes them.

    Raises:
        FileExistsError: if there is something in `output`.
        FileNotFoundError: if there are no weights.
        KeyError: if a setting is unknown.
        ValueError: if nothing names the classes, or a setting would change the network.
    """
    if os.path.isdir(output) and os.listdir(output):
        raise FileExistsError(f"`--output` must not exist or be empty. Received: {output}")
    config = read_experiment(weights_dir)
    categories = read_categories(weights_dir, categories_file, config.task.model.num_classes)
    model = dataclasses.replace(config.task.model, num_classes=categories.num_classes)
    config = dataclasses.replace(config, task=dataclasses.replace(config.task, model=model))
    changed = override(config, overrides)
    if changed.task.model != config.task.model:
        raise ValueError(f"`--params_override` must not change the network (task.model). Received: {overrides}")

    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    from maskformer_model.export.saved_model import export_saved_model
    from maskformer_model.pretrained import initialize

    has_weights = os.path.isfile(os.path.join(weights_dir, WEIGHTS_FILE))
    network = (initialize.load_converted if has_weights else initialize.load_unfinished)(weights_dir)
    unfinished = f"{output.rstrip('/')}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)  # What an export that was killed has left.
    export_saved_model(network, categories, changed, unfinished, _history(weights_dir))
    os.makedirs(output, exist_ok=True)
    os.rename(unfinished, output)
    return changed


def _history(weights_dir: str) -> list[dict[str, float]]:
    path = os.path.join(weights_dir, HISTORY_FILE)
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(argv)
    return run_command("export", lambda: _export(args))


def _export(args: argparse.Namespace) -> int:
    config = export(args.weights, args.output, args.categories, args.params_override)
    inference = config.task.inference
    print(
        f"Exported to {args.output}: {config.task.kind}, {config.task.model.num_classes} classes, photos resized to "
        f"{inference.shortest_edge_px} px (longest edge {inference.max_size_px}).\n"
        f"Serve it: maskformer serve --model {args.output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
