"""Converts a published checkpoint: `python -m maskformer_model.convert_checkpoint --source FILE_OR_DIR --output DIR`.

Reads the official MaskFormer's `.pkl`, Hugging Face folders, PyTorch files and `.npz` without PyTorch, and writes
`experiment.json`, `model.weights.h5` and, if the classes have names, `categories.json`; `task.init_checkpoint` and
`maskformer export` take them. Test sizes, thresholds and training
settings are those of the published recipe with this architecture and number of classes; where there is none, name one.
The published weights are CC BY-NC 4.0, and so is what this makes of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from maskformer_model.command_errors import run_command
from maskformer_model.command_parser import CommandParser
from maskformer_model.config import ExperimentConfig, ModelConfig, differing_settings
from maskformer_model.config.files import CATEGORIES_FILE, HISTORY_FILE

if TYPE_CHECKING:
    from maskformer_model.categories import CategoryTable

EXIT_FAILED = 1
# What a checkpoint cannot contradict, because arrays do not show it.
_NOT_SHOWN = (
    "backbone.norm",
    "backbone.drop_path_rate",
    "backbone.res5_multi_grid",
    "backbone.rope_base",
    "backbone.rope_rescale",
    "backbone.norm_epsilon",
    "backbone.layer_scale",
    "pixel_decoder.num_heads",
    "pixel_decoder.dropout",
    "decoder.num_heads",
    "decoder.dropout",
    "decoder.deep_supervision",
    "decoder.enforce_input_projection",
    "decoder.input_feature",
    "decoder.mask_annealing_starts",
    "decoder.mask_annealing_ends",
    "decoder.mask_annealing_power",
    "decoder.masks_at_inference",
)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was written, and the experiment that its sizes, thresholds and training settings come from.

    Attributes:
        config: The experiment as written, with the file's architecture.
        settings_of: Name of a registered experiment.
        categories: The categories that were written; None if nothing names the classes.
        labels_from: A clause that says where they come from.
    """

    config: ExperimentConfig
    settings_of: str
    categories: CategoryTable | None
    labels_from: str


def convert(
    source: str, output: str, experiment: str = "", settings_of: str = "", stuff: Sequence[str] | None = None
) -> Conversion:
    """Converts one checkpoint.

    The file shows the architecture, but not at which size and with which thresholds the model answers. Those are the
    published recipe's that has this architecture, unless one of the two experiments is named.

    Args:
        source: A file or folder that `sources.read_checkpoint` reads; a whole MaskFormer.
        output: The folder to write.
        experiment: A registered experiment, whose architecture the file must have.
        settings_of: A registered experiment from which everything but the architecture is taken.
        stuff: Names of the classes that are stuff; None takes what the source says or what is known of its classes.

    Raises:
        KeyError: if an experiment is unknown.
        ValueError: if `output` is the folder of a training, if the source is a backbone only, is made for pixels that
            are normalised otherwise, has an architecture that cannot be configured or that is not the
            experiment's, if no published recipe or more than one has it and none is named, or if any array is left
            over or missing (`CheckpointMismatchError`).
    """
    from maskformer_model import experiments
    from maskformer_model.backend.quiet_start import import_tensorflow
    from maskformer_model.pretrained import initialize
    from maskformer_model.pretrained.architecture import infer_model_config
    from maskformer_model.pretrained.hugging_face_config import require_our_pixels
    from maskformer_model.pretrained.labels import categories_of
    from maskformer_model.pretrained.sources import read_checkpoint
    from maskformer_model.pretrained.training_run import saved_checkpoints

    if experiment and settings_of:
        raise ValueError(f"Name `experiment` or `settings_of`, not both. Received: {experiment!r} and {settings_of!r}")
    import_tensorflow()
    if saved_checkpoints(output) or os.path.exists(os.path.join(output, HISTORY_FILE)):
        raise ValueError(f"A conversion must not replace a training. `output` is the folder of one: {output}")
    checkpoint = read_checkpoint(source)
    require_our_pixels(pathlib.Path(source))
    if checkpoint.lacks_heads:
        raise ValueError(
            f"{source} is a model without the heads of classes and masks, which answers nothing. Pass it as "
            "`task.init_checkpoint` with `task.init_checkpoint_modules=all`; the heads are then trained anew"
        )
    if not checkpoint.is_whole_model:
        raise ValueError(
            f"Only a whole MaskFormer is converted; pass a backbone as `task.init_checkpoint`. Received: {source}"
        )
    model = infer_model_config(checkpoint.arrays, checkpoint.settings)
    if not experiment and not settings_of:
        experiment = published_recipe_of(model)
    config = experiments.get(experiment or settings_of)
    if experiment:
        base = config.task.model
        model = infer_model_config(checkpoint.arrays, checkpoint.settings, base)
        _check_architecture(model, base, experiment)
    config = dataclasses.replace(config, task=dataclasses.replace(config.task, model=model))
    categories, labels_from = categories_of(checkpoint.labels, model.num_classes, config.task.kind, experiment, stuff)
    network = initialize.build_network(model)
    initialize.load_official_weights(network, checkpoint.arrays)
    initialize.save_converted(network, config, output, categories)
    return Conversion(config, experiment or settings_of, categories, labels_from)


def published_recipe_of(model: ModelConfig) -> str:
    """Returns the published recipe that has this architecture and number of classes.

    Raises:
        ValueError: if there is none or more than one, naming those that come nearest and what to do.
    """
    from maskformer_model import experiments

    published = {name: experiments.get(name).task.model for name in experiments.names()}
    published = {name: stated for name, stated in published.items() if stated.num_classes}
    matching = [
        name for name, stated in published.items() if not any(map(_is_shown, differing_settings(stated, model)))
    ]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ValueError(
            f"The checkpoint has the architecture of {len(matching)} experiments, which answer at other sizes or with "
            f"other thresholds. Choose one with --experiment: {', '.join(matching)}"
        )
    same_classes = [name for name, stated in published.items() if stated.num_classes == model.num_classes]
    nearest = min(published, key=lambda name: _distance(published[name], model))
    raise ValueError(
        f"No published recipe has the architecture of the checkpoint ({model.num_classes} classes, "
        f"{model.num_queries} queries, {model.backbone.type}, {model.pixel_decoder.type}), and the file does not say "
        "at which size and with which thresholds it answers. Name the experiment that it was trained as with "
        f"--experiment, or one to take everything but the architecture from: the nearest is --settings_of {nearest}. "
        f"With {model.num_classes} classes there are: {', '.join(same_classes) or 'none'}."
    )


def _distance(stated: ModelConfig, model: ModelConfig) -> tuple[int, int]:
    """Returns which parts of two networks differ, the decoder weighing most, and in how many settings they do."""
    parts = [
        stated.num_classes != model.num_classes,
        stated.backbone.type != model.backbone.type,
        stated.pixel_decoder.type != model.pixel_decoder.type,
        stated.decoder.type != model.decoder.type,
    ]
    return sum(differs << place for place, differs in enumerate(parts)), len(differing_settings(stated, model))


def _check_architecture(model: ModelConfig, stated: ModelConfig, experiment: str) -> None:
    known = "" if stated.num_classes else "num_classes"
    differing = {name: values for name, values in differing_settings(model, stated).items() if name != known}
    listing = ", ".join(f"{name} {here} for {there}" for name, (here, there) in differing.items() if _is_shown(name))
    if listing:
        raise ValueError(f"The checkpoint must have the architecture of {experiment!r}. Received: {listing}")


def _is_shown(setting: str) -> bool:
    """Returns whether arrays show a setting of the model."""
    return setting not in _NOT_SHOWN


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = CommandParser(
        prog="python -m maskformer_model.convert_checkpoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", required=True, help="official .pkl, Hugging Face folder, .pth or .npz")
    parser.add_argument("--output", required=True, help="folder for experiment.json and model.weights.h5")
    parser.add_argument("--experiment", default="", help="registered experiment whose architecture the source has")
    parser.add_argument(
        "--settings_of", default="", help="registered experiment to take everything but the architecture from"
    )
    stuff_help = "classes that are stuff, by the source's names; the others are things (default: what is known of them)"
    parser.add_argument("--stuff", metavar="A,B", help=stuff_help)
    options = parser.parse_args(arguments)
    return run_command("maskformer_model.convert_checkpoint", lambda: _convert(options), status=EXIT_FAILED)


def _convert(options: argparse.Namespace) -> int:
    stuff = None if options.stuff is None else [name.strip() for name in options.stuff.split(",") if name.strip()]
    conversion = convert(options.source, options.output, options.experiment, options.settings_of, stuff)
    print("\n".join(_report(conversion, options.source, options.output)))
    return 0


def _report(conversion: Conversion, source: str, output: str) -> list[str]:
    task = conversion.config.task
    model, inference = task.model, task.inference
    lines = [
        f"Converted {source} to {output} with the settings of {conversion.settings_of}:",
        f"{task.kind}, {model.num_classes} classes, {model.num_queries} queries, {model.backbone.type}, "
        f"{model.pixel_decoder.type}, {model.decoder.type}",
        f"photos resized to {inference.shortest_edge_px} px (longest edge {inference.max_size_px}), thresholds "
        f"{inference.object_mask_threshold}, {inference.overlap_threshold}, {inference.pixel_threshold}",
    ]
    if conversion.categories is None:
        lines.append(
            f"No {CATEGORIES_FILE}: {conversion.labels_from}. Name them with `maskformer export --categories FILE`."
        )
    else:
        num_things = int(conversion.categories.isthing.sum())
        num_stuff = conversion.categories.num_classes - num_things
        lines.append(f"{CATEGORIES_FILE}: {num_things} things, {num_stuff} stuff; {conversion.labels_from}.")
    return lines


if __name__ == "__main__":
    sys.exit(main())
