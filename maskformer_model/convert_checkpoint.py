"""Converts a published checkpoint: `python -m maskformer_model.convert_checkpoint --source FILE_OR_DIR --output DIR`.

Reads the official MaskFormer's `.pkl`, Hugging Face folders, PyTorch files and `.npz` without PyTorch, and writes
`experiment.json` and `model.weights.h5`, which `task.init_checkpoint` takes. The published weights are CC BY-NC 4.0,
and so is what this makes of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from maskformer_model.config import ExperimentConfig, ModelConfig, to_dict

# What a checkpoint cannot contradict, because arrays do not show it.
_NOT_SHOWN = (
    "num_heads",
    "dropout",
    "deep_supervision",
    "enforce_input_projection",
    "transformer_in_feature",
)
_BACKBONE_NOT_SHOWN = ("norm", "drop_path_rate", "res5_multi_grid")


def convert(source: str, output: str, experiment: str = "") -> ExperimentConfig:
    """Converts one checkpoint.

    Args:
        source: A file or folder that `sources.read_checkpoint` reads; a whole MaskFormer.
        output: The folder to write.
        experiment: A registered experiment; gives what the source does not say. By default the published models'.

    Returns:
        The experiment that was written.

    Raises:
        ValueError: if the source is a backbone only, has an architecture that cannot be configured or that is not the
            experiment's, or if any array is left over or missing (`CheckpointMismatchError`).
    """
    from maskformer_model import experiments
    from maskformer_model.pretrained import initialize
    from maskformer_model.pretrained.architecture import infer_model_config
    from maskformer_model.pretrained.sources import read_checkpoint

    checkpoint = read_checkpoint(source)
    if not checkpoint.is_whole_model:
        raise ValueError(
            f"Only a whole MaskFormer is converted; pass a backbone as `task.init_checkpoint`. Received: {source}"
        )
    config = experiments.get(experiment) if experiment else ExperimentConfig()
    base = config.task.model if experiment else None
    model = infer_model_config(checkpoint.arrays, checkpoint.settings, base)
    if base is not None:
        _check_architecture(model, base, experiment)
    config = dataclasses.replace(config, task=dataclasses.replace(config.task, model=model))
    network = initialize.build_network(model)
    initialize.load_official_weights(network, checkpoint.arrays)
    initialize.save_converted(network, config, output)
    return config


def _check_architecture(model: ModelConfig, stated: ModelConfig, experiment: str) -> None:
    found, wanted = _shown(model), _shown(stated)
    if not stated.num_classes:
        found.pop("num_classes"), wanted.pop("num_classes")
    differing = {name: (value, wanted.get(name)) for name, value in found.items() if value != wanted.get(name)}
    if differing:
        listing = ", ".join(f"{name} {value} for {expected}" for name, (value, expected) in differing.items())
        raise ValueError(f"The checkpoint must have the architecture of {experiment!r}. Received: {listing}")


def _shown(model: ModelConfig) -> dict[str, Any]:
    values = {name: value for name, value in to_dict(model).items() if name not in _NOT_SHOWN}
    backbone = values.pop("backbone")
    return values | {f"backbone.{name}": value for name, value in backbone.items() if name not in _BACKBONE_NOT_SHOWN}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="official .pkl, Hugging Face folder, .pth or .npz")
    parser.add_argument("--output", required=True, help="folder for experiment.json and model.weights.h5")
    parser.add_argument("--experiment", default="", help="registered experiment that says what the source does not")
    options = parser.parse_args(arguments)
    try:
        config = convert(options.source, options.output, options.experiment)
    except (ValueError, KeyError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 1
    print(f"Converted {options.source} to {options.output}: {config.task.model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
