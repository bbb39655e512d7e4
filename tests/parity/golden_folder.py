"""A folder of golden numbers, read: `golden.json`, `weights.npz`, `inputs.npz`, `outputs.npz`, and what else it has."""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

import numpy as np

REQUIRED = ("golden.json", "weights.npz", "inputs.npz", "outputs.npz")


class GoldenFolder:
    """What an official implementation computed for one model and one batch.

    Optional files, arrays by official name: `gradients_step0.npz`; `weights_after.npz`, or `weight_changes.npz`, which
    loses no digits to the weights' own size; or norms, `gradient_norms_step0.json` and `weights_after_norms.json` (of
    the changes).

    Raises:
        FileNotFoundError: if a required file is missing.
    """

    def __init__(self, path: pathlib.Path):
        missing = [name for name in REQUIRED if not (path / name).is_file()]
        if missing:
            raise FileNotFoundError(f"A golden folder must hold {', '.join(missing)}. Received: {path}")
        self.path = path
        self.settings: dict[str, Any] = json.loads((path / "golden.json").read_text(encoding="utf-8"))

    @property
    def trajectory(self) -> list[dict[str, float]]:
        """Every loss term, the total, the gradient norm and what else is noted at each step; lists one by one."""
        return [_flat(step) for step in self.settings["trajectory"]]

    @property
    def is_float64(self) -> bool:
        """Whether the numbers were computed in float64 (they are stored in float32)."""
        return self.settings.get("computed_in", "float32") == "float64"

    @functools.cached_property
    def outputs(self) -> dict[str, np.ndarray]:
        """Tensors of the forward pass, and `match.layer_l.image_i.{query,target}`."""
        return self._arrays("outputs.npz")

    @functools.cached_property
    def initial(self) -> dict[str, np.ndarray]:
        """The weights before the first step."""
        return self._arrays("weights.npz")

    @functools.cached_property
    def gradients(self) -> dict[str, np.ndarray]:
        """The gradient of every trained parameter at step 0; empty where the folder has norms only."""
        return self._arrays("gradients_step0.npz")

    @functools.cached_property
    def changes(self) -> dict[str, np.ndarray]:
        """Every trained parameter's change over the trajectory; empty where the folder does not hold it."""
        changes = self._arrays("weight_changes.npz")
        return changes or {
            name: after - self.initial[name] for name, after in self._arrays("weights_after.npz").items()
        }

    @functools.cached_property
    def gradient_norms(self) -> dict[str, float]:
        """Norm of every trained parameter's gradient at step 0."""
        if self.gradients:
            return {name: float(np.linalg.norm(value)) for name, value in self.gradients.items()}
        return self._numbers("gradient_norms_step0.json")

    @functools.cached_property
    def change_norms(self) -> dict[str, float]:
        """Norm of every trained parameter's change over the trajectory, where the folder holds these alone."""
        return self._numbers("weights_after_norms.json")

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        if not (self.path / name).is_file():
            return {}
        with np.load(self.path / name) as arrays:
            return dict(arrays)

    def _numbers(self, name: str) -> dict[str, float]:
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _flat(step: dict[str, Any]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in step.items():
        if isinstance(value, list):
            flat |= {f"{name}.{index}": one for index, one in enumerate(value)}
        else:
            flat[name] = value
    return flat


def read_batch(folder: pathlib.Path, size_divisibility: int = 0) -> tuple[Any, Any, Any, Any]:
    """Reads padded images, their sizes, and the targets as one map of 1-based target numbers with class indices."""
    inputs = np.load(folder / "inputs.npz")
    num_images = sum(name.startswith("image_") for name in inputs.files)
    labels = [inputs[f"labels_{index}"] for index in range(num_images)]
    sizes_px = np.array([inputs[f"image_{index}"].shape[:2] for index in range(num_images)]).max(axis=0)
    height_px, width_px = sizes_px + -sizes_px % max(1, size_divisibility)
    image = np.zeros((num_images, height_px, width_px, 3), np.uint8)
    valid_size_px = np.zeros((num_images, 2), np.int32)
    segment_map = np.zeros((num_images, height_px, width_px), np.int32)
    segment_classes = np.full((num_images, max(1, *map(len, labels))), -1, np.int32)
    for index in range(num_images):
        photo, masks = inputs[f"image_{index}"], inputs[f"masks_{index}"]
        if masks.sum(axis=0).max(initial=0) > 1:
            raise ValueError(f"The masks of an image must not overlap. Received: masks_{index} in {folder}")
        height, width = valid_size_px[index] = photo.shape[:2]
        image[index, :height, :width] = photo
        segment_classes[index, : len(labels[index])] = labels[index]
        for target, mask in enumerate(masks, start=1):
            segment_map[index, :height, :width][mask] = target
    return image, valid_size_px, segment_map, segment_classes
