"""Makes the golden folders that are made from formulas: `python -m tests.reference.make_golden DIRECTORY [NAME ...]`.

Needs PyTorch (`make env-parity`). The committed folders in `tests/golden/formula_*` are what it writes. Two models with
large maps are written only if they are named.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

import numpy as np

from tests.reference.recipes import LARGE_RECIPES, NUM_STEPS, RECIPES, Recipe


def main(arguments: list[str] | None = None) -> int:
    """Writes the folders that are named, by default all that are committed."""
    parser = argparse.ArgumentParser(prog="python -m tests.reference.make_golden", description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("names", nargs="*", choices=[[], *RECIPES, *LARGE_RECIPES], default=[])
    options = parser.parse_args(arguments)
    for name in options.names or RECIPES:
        write_folder((RECIPES | LARGE_RECIPES)[name], options.directory / name)
        print(options.directory / name)
    return 0


def write_folder(recipe: Recipe, folder: pathlib.Path) -> None:
    """Trains the recipe's model in float64 and writes everything in float32, in the golden layout."""
    import torch

    from tests.reference.random_state import random_state
    from tests.reference.training import train

    settings, inputs = recipe.settings, recipe.inputs()
    weights = random_state(settings, recipe.stage_blocks, recipe.seed)
    trajectory = train(settings, weights, inputs, NUM_STEPS, torch.float64)
    settings["parameters"] = sum(value.size for value in trajectory.final.values())
    settings["solver"]["per_parameter_lr_and_weight_decay"] = trajectory.groups
    settings["trajectory"] = trajectory.steps
    outputs = dict(trajectory.outputs)
    folder.mkdir(parents=True, exist_ok=True)
    for layer, match in enumerate(trajectory.matches):
        for image, (query, target) in enumerate(match):
            outputs[f"match.layer_{layer}.image_{image}.query"] = query.numpy()
            outputs[f"match.layer_{layer}.image_{image}.target"] = target.numpy()
    _write_arrays(folder / "weights.npz", weights)
    _write_arrays(folder / "inputs.npz", inputs)
    _write_arrays(folder / "outputs.npz", outputs)
    changes = {name: value - weights[name] for name, value in trajectory.final.items()}
    if recipe.keeps_arrays:
        _write_arrays(folder / "gradients_step0.npz", trajectory.gradients)
        _write_arrays(folder / "weight_changes.npz", changes)
    else:
        _write_norms(folder / "gradient_norms_step0.json", trajectory.gradients)
        _write_norms(folder / "weights_after_norms.json", changes)
    (folder / "golden.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _write_arrays(path: pathlib.Path, arrays: dict[str, Any]) -> None:
    small = {name: value.astype(np.float32) if value.dtype == np.float64 else value for name, value in arrays.items()}
    np.savez_compressed(path, **small)


def _write_norms(path: pathlib.Path, arrays: dict[str, Any]) -> None:
    norms = {name: float(np.linalg.norm(value)) for name, value in arrays.items()}
    path.write_text(json.dumps(norms, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
