"""Compares the model with the official code's numbers: `python -m tests.parity FOLDER`.

The folder has the golden model layout: `golden.json` (architecture, solver, loss trajectory), `weights.npz`,
`inputs.npz`, `outputs.npz`, and either `gradients_step0.npz` and `weights_after.npz` or `gradient_norms_step0.json`.
The whole path is ours: normalisation, network, matcher, losses, gradients, optimizer.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import sys
from typing import Any

REQUIRED = ("golden.json", "weights.npz", "inputs.npz", "outputs.npz")

OUTPUT_BAR = 1e-4  # Of the largest magnitude of the tensor.
LOSS_BAR = 1e-4  # Relative.
GRADIENT_BAR = 1e-3  # Of the parameter's own gradient norm, plus ...
GRADIENT_FLOOR = 1e-7  # ... this share of the global norm.
TRAJECTORY_BAR = 1e-3  # Relative, of the total loss at the last step.
CHANGE_BAR = 1e-2  # Of the norm of the weights' change over the trajectory.


@dataclasses.dataclass(frozen=True)
class Row:
    """One compared quantity: `difference` must not exceed `bar`."""

    quantity: str
    difference: float
    bar: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """False for a difference that is not a number, too."""
        return self.difference <= self.bar


def main(arguments: list[str] | None = None) -> int:
    """Prints one row per quantity; returns 0 if every row passes."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="a folder in the golden model layout")
    folder = parser.parse_args(arguments).folder
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if missing:
        parser.error(f"`folder` must hold {', '.join(missing)}. Received: {folder}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # The rows are the output, not TensorFlow's greetings.
    rows = compare_folder(folder)
    print(f"{'quantity':<32} {'difference':>10} {'bar':>8}  result")
    for row in rows:
        verdict = "pass" if row.passed else "FAIL"
        print(f"{row.quantity:<32} {row.difference:10.1e} {row.bar:8.0e}  {verdict}  {row.note}".rstrip())
    failed = sum(not row.passed for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} quantities pass")
    return int(failed > 0)


def compare_folder(folder: pathlib.Path) -> list[Row]:
    """Runs the whole trajectory and compares it, as one row per quantity."""
    run = _Run(folder)
    first = run.step()
    steps = [first["losses"]]
    for _ in run.golden["trajectory"][1:]:
        run.apply()
        steps.append(run.step()["losses"])
    run.apply()  # The last step of the trajectory is taken as well.
    rows = [
        _size_row(run),
        *_output_rows(first["outputs"], run.expected),
        _assignment_row(first["queries"], run.expected, run.batch),
        *_loss_rows(steps[0], run.golden["trajectory"][0]),
        _gradient_row(run, folder),
        _group_row(run),
        _trajectory_row(steps, run.golden["trajectory"]),
    ]
    if (folder / "weights_after.npz").is_file():
        rows.append(_change_row(run, folder))
    return rows


class _Run:
    """A golden model, built from its folder, that is trained step by step on the golden batch."""

    def __init__(self, folder: pathlib.Path):
        import numpy as np  # Late, like Keras below, so that `--help` answers at once.

        from maskformer_model.config import LossConfig, OptimizerConfig
        from maskformer_model.pretrained import initialize, maskformer_names
        from maskformer_model.pretrained.architecture import infer_model_config
        from maskformer_model.pretrained.sources import read_checkpoint
        from maskformer_model.training.optimizer import make_optimizer

        self.golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
        with np.load(folder / "outputs.npz") as arrays:
            self.expected = dict(arrays)
        checkpoint = read_checkpoint(str(folder))
        self.network = initialize.build_network(infer_model_config(checkpoint.arrays, checkpoint.settings))
        initialize.load_official_weights(self.network, checkpoint.arrays)
        self.initial = checkpoint.arrays
        self.weights = maskformer_names.official_weights(self.network)
        options, solver = self.golden["mask_former"], self.golden["solver"]
        self.loss_config = LossConfig(
            mask_weight=options["MASK_WEIGHT"],
            dice_weight=options["DICE_WEIGHT"],
            background_cls_weight=options["NO_OBJECT_WEIGHT"],
        )
        self.optimizer_config = OptimizerConfig(
            learning_rate=solver["base_lr"],
            backbone_multiplier=solver["backbone_multiplier"],
            weight_decay=solver["weight_decay"],
            clip_norm=solver["clip_global_norm"] or 0.0,
        )
        self.optimizer = make_optimizer(self.optimizer_config, solver["base_lr"])
        self.optimizer.build(self.network.trainable_variables)
        self.batch = read_batch(folder, options["SIZE_DIVISIBILITY"])
        self.first_gradients: dict[str, Any] = {}
        self._compile()

    def _compile(self) -> None:
        import tensorflow as tf

        from maskformer_model.data.normalization import normalize
        from maskformer_model.losses import criterion

        variables = [variable.value for variable in self.network.trainable_variables]

        @tf.function(autograph=False)
        def compute():
            image, valid_size_px, segment_map, segment_classes = self.batch
            with tf.GradientTape() as tape:
                normalized = normalize(image, valid_size_px)
                outputs = self.network.outputs_with_features(normalized, training=True)
                terms = criterion.maskformer_losses(outputs, segment_map, segment_classes, self.loss_config)
                total = tf.add_n(list(terms.values()))
            layers = [*outputs["aux_outputs"], outputs]
            queries, _ = criterion.match_layers(layers, segment_map, segment_classes, self.loss_config)
            gradients = tape.gradient(total, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return {
                "outputs": {**outputs, "normalized": normalized},
                "queries": queries,
                "losses": {**terms, "total": total, "grad_norm": tf.linalg.global_norm(gradients)},
                "gradients": [tf.convert_to_tensor(gradient) for gradient in gradients],
            }

        @tf.function(autograph=False)
        def apply(gradients):
            self.optimizer.apply(gradients, self.network.trainable_variables)

        self._compute, self._apply = compute, apply

    def step(self) -> dict[str, Any]:
        """Computes outputs, losses and gradients at the present weights."""
        computed = self._compute()
        self._gradients = computed["gradients"]
        if not self.first_gradients:
            self.first_gradients = self._by_official_name(self._gradients)
        return {
            "outputs": computed["outputs"],
            "queries": computed["queries"],
            "losses": {name: float(value) for name, value in computed["losses"].items()},
        }

    def apply(self) -> None:
        """Updates the weights with the gradients of the last `step`."""
        self._apply(self._gradients)

    def _by_official_name(self, values: list[Any]) -> dict[str, Any]:
        by_variable = dict(zip(map(id, self.network.trainable_variables), values, strict=True))
        return {
            weight.name: weight.read([by_variable[id(variable)] for variable in weight.variables])
            for weight in self.weights
            if id(weight.variables[0]) in by_variable
        }


def read_batch(folder: pathlib.Path, size_divisibility: int = 0) -> tuple[Any, Any, Any, Any]:
    """Padded images, their sizes, and the targets as one map of 1-based target numbers with class indices."""
    import numpy as np

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


def _size_row(run: _Run) -> Row:
    """The number of trainable parameters."""
    count = sum(variable.value.shape.num_elements() for variable in run.network.trainable_variables)
    return Row("parameters", abs(count - run.golden["parameters"]), 0, f"{count} trained")


def _output_rows(outputs: dict[str, Any], expected: dict[str, Any]) -> list[Row]:
    pairs = {"padded_images": _channels_first(outputs["normalized"])}
    pairs |= {f"features.{name}": _channels_first(value) for name, value in outputs["features"].items()}
    if "transformer_encoder" in outputs["memory"]:
        pairs["transformer_encoder_features"] = _channels_first(outputs["memory"]["transformer_encoder"])
    pairs["mask_features"] = _channels_first(outputs["mask_features"])
    layers = {"": outputs} | {f"aux_{index}.": layer for index, layer in enumerate(outputs["aux_outputs"])}
    for prefix, layer in layers.items():
        pairs[f"{prefix}pred_logits"] = layer["class_logits"]
        pairs[f"{prefix}pred_masks"] = layer["mask_logits"]
    wanted = {name for name in expected if not name.startswith("match.")}
    rows = [Row(name, float("nan"), OUTPUT_BAR, "only in one of the two") for name in sorted(wanted ^ pairs.keys())]
    return rows + [_output_row(name, pairs[name], expected[name]) for name in pairs if name in wanted]


def _output_row(name: str, value: Any, expected: Any) -> Row:
    largest = max(float(abs(expected).max()), 1e-30)
    return Row(name, _largest_difference(value, expected) / largest, OUTPUT_BAR)


def _assignment_row(queries: list[Any], expected: dict[str, Any], batch: tuple[Any, ...]) -> Row:
    """How many targets have another query than the official matcher gives them, over all layers and images.

    Targets of one class whose masks are equal at the predictions' resolution (small ones are often all empty there)
    cost the same for every query. Which of them takes which query, or none where queries are short, is decided by the
    last bit of the official costs; they are compared as a set, and the note says how many pairs that concerns.
    """
    import numpy as np

    _, _, segment_map, segment_classes = batch
    size = expected["pred_masks"].shape[2:]
    differing = swapped = total = 0
    for layer, layer_queries in enumerate(np.asarray(query) for query in queries):
        for image, query in enumerate(layer_queries):
            prefix = f"match.layer_{layer}.image_{image}"
            wanted = np.full(query.shape, -1)
            wanted[expected[f"{prefix}.target"]] = expected[f"{prefix}.query"]
            found, ordered = query.copy(), wanted.copy()
            for group in _interchangeable_targets(segment_map[image], segment_classes[image], size):
                found[group], ordered[group] = np.sort(query[group]), np.sort(wanted[group])
            differing += int((found != ordered).sum())
            swapped += int((query != wanted).sum())
            total += int((wanted >= 0).sum())
    num_layers = sum(name.endswith("image_0.query") for name in expected)
    note = f"{total} pairs in {len(queries)} layers"
    if swapped > differing:
        note += f"; {swapped - differing} differ only among targets that cost the same for every query"
    return Row("assignments", differing if len(queries) == num_layers else float("nan"), 0, note)


def _interchangeable_targets(segment_map: Any, segment_classes: Any, size: tuple[int, int]) -> list[list[int]]:
    """Groups of targets that no cost can tell apart: one class, and one mask at the matcher's resolution."""
    import numpy as np

    rows, columns = (np.arange(out) * full // out for out, full in zip(size, segment_map.shape, strict=True))
    nearest = segment_map[rows[:, None], columns[None]]
    groups: dict[tuple[int, bytes], list[int]] = {}
    for target, class_index in enumerate(segment_classes):
        if class_index >= 0:
            groups.setdefault((int(class_index), (nearest == target + 1).tobytes()), []).append(target)
    return list(groups.values())


def _loss_rows(terms: dict[str, float], expected: dict[str, float]) -> list[Row]:
    if terms.keys() != expected.keys():
        return [Row("loss terms", float("nan"), 0, f"{sorted(terms)} for {sorted(expected)}")]
    return [
        Row(name, _relative(terms[name], value), GRADIENT_BAR if name == "grad_norm" else LOSS_BAR)
        for name, value in expected.items()
    ]


def _gradient_row(run: _Run, folder: pathlib.Path) -> Row:
    """The gradient that differs most, as a share of what is allowed, times the bar."""
    import numpy as np

    if (folder / "gradients_step0.npz").is_file():
        expected = dict(np.load(folder / "gradients_step0.npz"))
        norms = {name: float(np.linalg.norm(value)) for name, value in expected.items()}
        note = "worst: "
    else:
        norms = json.loads((folder / "gradient_norms_step0.json").read_text(encoding="utf-8"))
        expected = {}
        note = "norms only; worst: "
    computed = run.first_gradients
    if computed.keys() != norms.keys():
        return Row("gradients", float("nan"), GRADIENT_BAR, f"only in one: {sorted(computed.keys() ^ norms.keys())}")
    global_norm = float(np.linalg.norm(list(norms.values())))
    shares = {}
    for name, norm in norms.items():
        if expected:
            error = float(np.linalg.norm(computed[name] - expected[name]))
        else:
            error = abs(float(np.linalg.norm(computed[name])) - norm)
        shares[name] = error / (norm + GRADIENT_FLOOR / GRADIENT_BAR * global_norm)
    worst = max(shares, key=lambda name: np.nan_to_num(shares[name], nan=np.inf))
    return Row("gradients", shares[worst], GRADIENT_BAR, f"{note}{worst} of {len(norms)}")


def _group_row(run: _Run) -> Row:
    """Parameters whose learning rate or weight decay is not the official one."""
    expected = run.golden["solver"]["per_parameter_lr_and_weight_decay"]
    paths = {id(variable): index for index, variable in enumerate(run.network.trainable_variables)}
    wrong = []
    for weight in run.weights:
        if weight.name not in expected:
            continue
        for variable in weight.variables:
            index = paths[id(variable)]
            rate = run.optimizer_config.learning_rate * run.optimizer._multipliers[index]
            pair = (rate, run.optimizer._decays[index])
            if max(_relative(*values) for values in zip(pair, expected[weight.name], strict=True)) > 1e-6:
                wrong.append(weight.name)
    return Row("learning rates and decays", len(wrong), 0, ", ".join(wrong[:3]))


def _trajectory_row(steps: list[dict[str, float]], expected: list[dict[str, float]]) -> Row:
    differences = [_relative(step["total"], wanted["total"]) for step, wanted in zip(steps, expected, strict=True)]
    note = "total loss at the last step; all: " + " ".join(f"{difference:.0e}" for difference in differences)
    return Row("trajectory", differences[-1], TRAJECTORY_BAR, note)


def _change_row(run: _Run, folder: pathlib.Path) -> Row:
    """How far the final weights are from the official ones, over how far those moved.

    Query, key and value, which the official arrays stack, count as parameters of their own: a softmax does not see a
    bias of its keys, so the gradient of that third is rounding error alone.
    """
    import numpy as np

    gradients, after = np.load(folder / "gradients_step0.npz"), np.load(folder / "weights_after.npz")
    # Adam moves a parameter however small its gradient is: where that is rounding error alone, so is the move.
    floor = GRADIENT_FLOOR * float(np.sqrt(sum(np.sum(np.square(gradients[name])) for name in gradients.files)))
    errors, moves, num_parts = [], [], 0
    for weight in run.weights:
        if weight.name not in gradients.files:
            continue
        arrays = (gradients[weight.name], weight.read(), after[weight.name], run.initial[weight.name])
        for parts in zip(*(np.split(array, weight.layout.parts) for array in arrays), strict=True):
            gradient, ours, official, initial = parts
            num_parts += 1
            if np.linalg.norm(gradient) > floor:
                errors.append(np.linalg.norm(ours - official))
                moves.append(np.linalg.norm(official - initial))
    note = f"change over {len(run.golden['trajectory'])} steps, {len(moves)} of {num_parts} parameters"
    return Row("final weights", float(np.linalg.norm(errors) / np.linalg.norm(moves)), CHANGE_BAR, note)


def _channels_first(value: Any) -> Any:
    import numpy as np

    return np.transpose(value, (0, 3, 1, 2))


def _largest_difference(value: Any, expected: Any) -> float:
    import numpy as np

    value = np.asarray(value)
    return float(np.abs(value - expected).max()) if value.shape == expected.shape else float("nan")


def _relative(value: float, expected: float) -> float:
    return abs(value - expected) / abs(expected) if expected else abs(value)


if __name__ == "__main__":
    sys.exit(main())
