"""Draws the generated scenes that a run without data uses; also a program, for the local test of a compiled pipeline.

    python -m pipeline.local_run.generated_data DIR [--train N] [--eval N]     # also writes DIR/manifest.json

How scenes are drawn is left to `maskformer_model.scenes.data_set`, reading them to CocoExampleGen.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence

from components.source_fingerprint import fingerprint_behind
from maskformer_model.command_errors import run_command
from pipeline.local_run.data_folder import DataFolderError

_RECIPE_FILE = "generated.json"
_SCENES_WORTH_A_PROCESS = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratedDataConfig:
    """The settings of the scenes to draw.

    Attributes:
        num_train: The number of train scenes.
        num_val: The number of validation scenes.
        size_px: A scene's height and width.
        seed: The same seed draws the same scenes.

    Raises:
        ValueError: if there would be no scene to train or to evaluate on.
    """

    num_train: int = 800
    num_val: int = 120
    size_px: int = 96
    seed: int = 0

    def __post_init__(self):
        for name in ("num_train", "num_val", "size_px"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` of the generated scenes must be positive. Received: {getattr(self, name)}")


def ensure_generated_data(directory: str | os.PathLike[str], config: GeneratedDataConfig) -> bool:
    """Draws the embedded data set unless the same one is already there.

    Args:
        directory: The target folder, which appears whole or not at all; an earlier call's data set there is replaced.
        config: Which scenes to draw.

    Returns:
        True if scenes were drawn, False if they were there.

    Raises:
        DataFolderError: if the folder holds something that this function did not make.
    """
    root = pathlib.Path(directory)
    recipe = _recipe(config)
    if _read_recipe(root) == recipe:
        return False
    if root.exists() and _read_recipe(root) is None:
        raise DataFolderError(f"{root} must hold generated scenes or not exist: it has no {_RECIPE_FILE}.")
    from maskformer_model.scenes import data_set

    unfinished = root.with_name(f"{root.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    data_set.write_data_set(unfinished, **dataclasses.asdict(config), num_processes=_num_processes(config))
    (unfinished / _RECIPE_FILE).write_text(json.dumps(recipe, indent=1), encoding="utf-8")
    replaced = root.with_name(f"{root.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if root.exists():
        root.rename(replaced)
    unfinished.rename(root)
    shutil.rmtree(replaced, ignore_errors=True)
    return True


def _num_processes(config: GeneratedDataConfig) -> int:
    """One for each core, except for so few scenes that starting processes would take longer than drawing."""
    return len(os.sched_getaffinity(0)) if config.num_train + config.num_val >= _SCENES_WORTH_A_PROCESS else 1


def _recipe(config: GeneratedDataConfig) -> dict[str, int | str]:
    from maskformer_model.scenes import data_set

    return dataclasses.asdict(config) | {"generator": fingerprint_behind(data_set.__name__)}


def _read_recipe(root: pathlib.Path) -> dict[str, int | str] | None:
    path = root / _RECIPE_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def main(argv: Sequence[str] | None = None) -> int:
    """Draws scenes and their manifest; returns the exit status, 2 if the folder holds something else."""
    parser = argparse.ArgumentParser(prog="generated_data", description="Draws the demo's scenes and their manifest.")
    parser.add_argument("data_dir", metavar="DIR")
    flags = {
        "--train": ("num_train", "number of train scenes"),
        "--eval": ("num_val", "number of validation scenes"),
        "--seed": ("seed", "another seed draws other scenes"),
    }
    for flag, (field, meaning) in flags.items():
        default = getattr(GeneratedDataConfig, field)
        parser.add_argument(
            flag, dest=field, type=int, default=default, metavar="N", help=f"{meaning} (default: {default})"
        )
    args = vars(parser.parse_args(argv))
    return run_command("generated_data", lambda: _draw(args.pop("data_dir"), GeneratedDataConfig(**args)))


def _draw(data_dir: str, scenes: GeneratedDataConfig) -> int:
    ensure_generated_data(data_dir, scenes)
    from components.coco_example_gen import manifest

    return manifest.main(["write", data_dir])


if __name__ == "__main__":
    sys.exit(main())
