"""Converts a published checkpoint: `python -m maskformer_model.convert_checkpoint --source FILE_OR_DIR --output DIR`.

Reads the official MaskFormer's `.pkl`, Hugging Face folders, PyTorch files and `.npz` without PyTorch, and writes
`experiment.json` and `model.weights.h5`, which `task.init_checkpoint` takes. Test sizes, thresholds and training
settings are those of the published recipe with this architecture and number of classes; where there is none, name one.
The published weights are CC BY-NC 4.0, and so is what this makes of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from maskformer_model.command_parser import CommandParser
from maskformer_model.config import ExperimentConfig, ModelConfig, to_dict

# What a checkpoint cannot contradict, because arrays do not show it.
_NOT_SHOWN = (
    "backbone.norm",
    "backbone.drop_path_rate",
    "backbone.res5_multi_grid",
    "pixel_decoder.num_heads",
    "pixel_decoder.dropout",
    "decoder.num_heads",
    "decoder.dropout",
    "decoder.deep_supervision",
    "decoder.enforce_input_projection",
    "decoder.input_feature",
)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was written, and the experiment that its sizes, thresholds and training settings come from.

    Attributes:
        config: The experiment as written, with the file's architecture.
        settings_of: Name of a registered experiment.
    """

    config: ExperimentConfig
    settings_of: str


def convert(source: str, output: str, experiment: str = "", settings_of: str = "") -> Conversion:
    """Converts one checkpoint.

    The file shows the architecture, but not at which size and with which thresholds the model answers. Those are the
    published recipe's that has this architecture, unless one of the two experiments is named.

    Args:
        source: A file or folder that `sources.read_checkpoint` reads; a whole MaskFormer.
        output: The folder to write.
        experiment: A registered experiment, whose architecture the file must have.
        settings_of: A registered experiment from which everything but the architecture is taken.

    Raises:
        KeyError: if an experiment is unknown.
        ValueError: if the source is a backbone only, has an architecture that cannot be configured or that is not the
            experiment's, if no published recipe or more than one has it and none is named, or if any array is left
            over or missing (`CheckpointMismatchError`).
    """
    from maskformer_model import experiments
    from maskformer_model.pretrained import initialize
    from maskformer_model.pretrained.architecture import infer_model_config
    from maskformer_model.pretrained.sources import read_checkpoint

    if experiment and settings_of:
        raise ValueError(f"Name `experiment` or `settings_of`, not both. Received: {experiment!r} and {settings_of!r}")
    checkpoint = read_checkpoint(source)
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
    network = initialize.build_network(model)
    initialize.load_official_weights(network, checkpoint.arrays)
    initialize.save_converted(network, config, output)
    return Conversion(config, experiment or settings_of)


def published_recipe_of(model: ModelConfig) -> str:
    """The published recipe that has this architecture and number of classes.

    Raises:
        ValueError: if there is none or more than one, naming those that come nearest and what to do.
    """
    from maskformer_model import experiments

    published = {name: experiments.get(name).task.model for name in experiments.names()}
    published = {name: stated for name, stated in published.items() if stated.num_classes}
    matching = [name for name, stated in published.items() if _shown(stated) == _shown(model)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise ValueError(
            f"The checkpoint has the architecture of {len(matching)} experiments, which answer at other sizes or with "
            f"other thresholds. Choose one with --experiment: {', '.join(matching)}"
        )
    same_classes = [name for name, stated in published.items() if stated.num_classes == model.num_classes]
    raise ValueError(
        f"No published recipe has the architecture of the checkpoint ({model.num_classes} classes, "
        f"{model.num_queries} queries, {model.backbone.type}, {model.pixel_decoder.type}), and the file does not say "
        "at which size and with which thresholds it answers. Name the experiment that it was trained as with "
        "--experiment, or one to take everything but the architecture from with --settings_of. "
        f"With {model.num_classes} classes there are: {', '.join(same_classes) or 'none'}; "
        f"all: {', '.join(published)}"
    )


def _check_architecture(model: ModelConfig, stated: ModelConfig, experiment: str) -> None:
    found, wanted = _shown(model), _shown(stated)
    if not stated.num_classes:
        found.pop("num_classes"), wanted.pop("num_classes")
    differing = {name: (value, wanted.get(name)) for name, value in found.items() if value != wanted.get(name)}
    if differing:
        listing = ", ".join(f"{name} {value} for {expected}" for name, (value, expected) in differing.items())
        raise ValueError(f"The checkpoint must have the architecture of {experiment!r}. Received: {listing}")


def _shown(model: ModelConfig) -> dict[str, Any]:
    """By dotted name, the settings that arrays show."""
    shown: dict[str, Any] = {}
    for name, value in to_dict(model).items():
        shown |= {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
    return {name: value for name, value in shown.items() if name not in _NOT_SHOWN}


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
    options = parser.parse_args(arguments)
    try:
        conversion = convert(options.source, options.output, options.experiment, options.settings_of)
    except (ValueError, KeyError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 1
    task = conversion.config.task
    print(f"Converted {options.source} to {options.output} with the settings of {conversion.settings_of}:")
    print(f"{task.kind}, {task.model.num_classes} classes, {task.inference}, {task.model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
