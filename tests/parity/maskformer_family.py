"""Measures a MaskFormer: our network, losses and optimizer on a golden batch, step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maskformer_model.config import LossConfig, OptimizerConfig
from maskformer_model.data.normalization import normalize
from maskformer_model.losses import criterion
from maskformer_model.pretrained import initialize, maskformer_names
from maskformer_model.pretrained.architecture import infer_model_config
from maskformer_model.pretrained.sources import read_checkpoint
from maskformer_model.training.learning_rate import make_schedule
from maskformer_model.training.optimizer import make_optimizer
from tests.parity.assignment_rows import Costs
from tests.parity.golden_folder import GoldenFolder, read_batch
from tests.parity.measurement import Arrays, Measurement


def measure(folder: GoldenFolder, *, float64: bool = False, nudge: int = 0) -> Measurement:
    """Runs the whole trajectory of the folder."""
    with float_type("float64" if float64 else "float32"):
        return trained(TrainingRun(folder, nudge), folder)


def trained(run: TrainingRun, folder: GoldenFolder) -> Measurement:
    """Takes every step of the folder's trajectory."""
    first = run.step()
    gradients = run.by_official_name(first["gradients"])
    steps = [first["losses"]]
    for _ in folder.trajectory[1:]:
        run.apply()
        steps.append(run.step()["losses"])
    run.apply()  # The last step of the trajectory is taken as well.
    return Measurement(
        num_parameters=sum(variable.value.shape.num_elements() for variable in run.variables),
        outputs=first["outputs"],
        queries=first["queries"],
        steps=steps,
        gradients=gradients,
        groups=run.groups(),
        final={weight.name: weight.read() for weight in run.weights if weight.name in gradients},
        parts={weight.name: weight.layout.parts for weight in run.weights},
    )


def matching_costs(folder: GoldenFolder) -> Costs:
    """Computes what every pair of query and target costs, from the official outputs, in float64 and by the formulas.

    Independent of the matcher: focal loss with alpha 0.25 and gamma 2, smoothed Dice, and the probability of the class.
    """
    options = folder.settings["mask_former"]
    _, _, segment_map, segment_classes = read_batch(folder.path, options["SIZE_DIVISIBILITY"])
    num_layers = sum(name.endswith(".pred_masks") for name in folder.outputs) + 1
    costs: Costs = {}
    for layer in range(num_layers):
        prefix = f"aux_{layer}." if layer < num_layers - 1 else ""
        for image, classes in enumerate(segment_classes):
            logits = folder.outputs[f"{prefix}pred_masks"][image].astype(np.float64)
            truth = _nearest_targets(segment_map[image], logits.shape[1:], int((classes >= 0).sum()))
            class_logits = folder.outputs[f"{prefix}pred_logits"][image].astype(np.float64)
            probs = np.exp(class_logits - np.logaddexp.reduce(class_logits, axis=1, keepdims=True))
            logits = logits.reshape(len(logits), -1)
            focal, dice = _pairwise_focal(logits, truth), _pairwise_dice(logits, truth)
            terms = (options["MASK_WEIGHT"] * focal, options["DICE_WEIGHT"] * dice, -probs[:, classes[classes >= 0]])
            costs[layer, image] = sum(terms), sum(map(abs, terms))
    return costs


def _nearest_targets(segment_map: np.ndarray, size: tuple[int, ...], num_targets: int) -> np.ndarray:
    """`[targets, pixels]`: PyTorch's nearest rule, floor(index * length / new length)."""
    rows, columns = (np.arange(out) * full // out for out, full in zip(size, segment_map.shape, strict=True))
    nearest = segment_map[rows[:, None], columns[None]].reshape(1, -1)
    return (nearest == np.arange(1, num_targets + 1)[:, None]).astype(np.float64)


def _pairwise_focal(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    probs = 1 / (1 + np.exp(-logits))
    if_one = 0.25 * (1 - probs) ** 2 * np.logaddexp(0, -logits)
    if_zero = 0.75 * probs**2 * np.logaddexp(0, logits)
    return (if_one @ truth.T + if_zero @ (1 - truth).T) / logits.shape[1]


def _pairwise_dice(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    probs = 1 / (1 + np.exp(-logits))
    total = probs.sum(axis=1)[:, None] + truth.sum(axis=1)[None]
    return 1 - (2 * probs @ truth.T + 1) / (total + 1)


@contextlib.contextmanager
def float_type(name: str) -> Iterator[None]:
    """Makes weights and layers of one float type."""
    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(policy)


def nudged(weights: Arrays, seed: int) -> Arrays:
    """Moves each weight by one unit in its last place, up or down; seed 0 leaves them as they are."""
    if not seed:
        return weights
    generator = np.random.default_rng(seed)
    moved = {}
    for name in sorted(weights):
        value = weights[name]
        directions = generator.choice(np.array([-np.inf, np.inf], value.dtype), value.shape)
        moved[name] = np.nextafter(value, directions)
    return moved


class TrainingRun:
    """A golden model, built from its folder, that is trained step by step on the golden batch."""

    def __init__(self, folder: GoldenFolder, nudge: int = 0):
        checkpoint = read_checkpoint(str(folder.path))
        self.network = initialize.build_network(infer_model_config(checkpoint.arrays, checkpoint.settings))
        initialize.load_official_weights(self.network, nudged(checkpoint.arrays, nudge))
        self.variables = self.network.trainable_variables
        self.weights = maskformer_names.official_weights(self.network)
        self.loss_config = self.read_loss_config(folder.settings)
        config, num_steps = self.read_optimizer_config(folder.settings)
        self.learning_rate = config.learning_rate
        self.optimizer = make_optimizer(config, make_schedule(config, num_steps))
        self.optimizer.build(self.variables)
        self.batch = self.read_batch(folder)
        self._gradients: list[Any] = []
        self._num_steps = 0
        self._compute = tf.function(self._traced_step, autograph=False)
        self._apply = tf.function(
            lambda gradients: self.optimizer.apply(gradients, self.variables), autograph=False, reduce_retracing=True
        )

    def read_batch(self, folder: GoldenFolder) -> tuple[Any, Any, Any, Any]:
        """Reads the folder's padded images, their sizes and targets."""
        return read_batch(folder.path, folder.settings["mask_former"]["SIZE_DIVISIBILITY"])

    def read_optimizer_config(self, settings: dict[str, Any]) -> tuple[OptimizerConfig, int]:
        """Reads the optimizer from the folder's `solver`, and how many steps its schedule has."""
        solver = settings["solver"]
        config = OptimizerConfig(
            learning_rate=solver["base_lr"],
            backbone_multiplier=solver["backbone_multiplier"],
            weight_decay=solver["weight_decay"],
            clip_norm=solver["clip_global_norm"] or 0.0,
            schedule="constant",
        )
        return config, 1

    def read_loss_config(self, settings: dict[str, Any]) -> LossConfig:
        """Reads the objective from the folder's `mask_former`."""
        options = settings["mask_former"]
        return LossConfig(
            mask_weight=options["MASK_WEIGHT"],
            dice_weight=options["DICE_WEIGHT"],
            background_cls_weight=options["NO_OBJECT_WEIGHT"],
        )

    def points_of_step(self, step: int) -> Arrays:
        """Returns the points that a step's losses look at, by layer and kind; empty: all pixels."""
        return {}

    def forward(self, normalized: Any, points: dict[str, Any]) -> dict[str, Any]:
        """Runs the network as a training step does."""
        return self.network.outputs_with_features(normalized, training=True)

    def official_outputs(self, normalized: Any, outputs: dict[str, Any]) -> dict[str, Any]:
        """Names every tensor of the forward pass as the golden folders do, channels first."""
        return _official_outputs(normalized, outputs)

    def _traced_step(self, points: dict[str, Any]) -> dict[str, Any]:
        image, valid_size_px, segment_map, segment_classes = self.batch
        with tf.GradientTape() as tape:
            normalized = normalize(image, valid_size_px)
            outputs = self.forward(normalized, points)
            draw = (lambda layer, kind, shape: points[f"{layer}.{kind}"]) if points else None
            terms = criterion.maskformer_losses(outputs, segment_map, segment_classes, self.loss_config, draw=draw)
            total = tf.add_n(list(terms.values()))
        layers = [*outputs["aux_outputs"], outputs]
        queries, _ = criterion.match_layers(layers, segment_map, segment_classes, self.loss_config, draw=draw)
        variables = [variable.value for variable in self.variables]
        gradients = tape.gradient(total, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return {
            "outputs": self.official_outputs(normalized, outputs),
            "queries": queries,
            "losses": {**self.official_losses(terms), "total": total, "grad_norm": tf.linalg.global_norm(gradients)},
            "gradients": gradients,
        }

    def official_losses(self, terms: dict[str, Any]) -> dict[str, Any]:
        """Names the loss terms as the folder's trajectory does."""
        return terms

    def step(self) -> dict[str, Any]:
        """Computes outputs, losses and gradients at the present weights."""
        computed = self._compute(self.points_of_step(self._num_steps))
        self._num_steps += 1
        self._gradients = computed["gradients"]
        return {
            "outputs": {name: value.numpy() for name, value in computed["outputs"].items()},
            "queries": [query.numpy() for query in computed["queries"]],
            "losses": {name: float(value) for name, value in computed["losses"].items()},
            "gradients": [gradient.numpy() for gradient in self._gradients],
        }

    def apply(self) -> None:
        """Updates the weights with the gradients of the last `step`."""
        self._apply(self._gradients)

    def by_official_name(self, values: list[Any]) -> Arrays:
        """Turns one array per trained variable into the official parameters."""
        by_variable = dict(zip(map(id, self.variables), values, strict=True))
        return {
            weight.name: weight.read([by_variable[id(variable)] for variable in weight.variables])
            for weight in self.weights
            if id(weight.variables[0]) in by_variable
        }

    def groups(self) -> dict[str, tuple[float, float]]:
        """Returns learning rate and weight decay of every trained parameter; NaN where its variables differ."""
        index = {id(variable): place for place, variable in enumerate(self.variables)}
        found = {}
        for weight in self.weights:
            places = [index[id(variable)] for variable in weight.variables if id(variable) in index]
            pairs = {
                (self.learning_rate * self.optimizer._multipliers[place], self.optimizer._decays[place])
                for place in places
            }
            if pairs:
                found[weight.name] = pairs.pop() if len(pairs) == 1 else (float("nan"), float("nan"))
        return found


def _official_outputs(normalized: Any, outputs: dict[str, Any]) -> dict[str, Any]:
    """Names every tensor as the golden folders do, channels first."""
    maps = {"padded_images": normalized} | {f"features.{name}": value for name, value in outputs["features"].items()}
    if "transformer_encoder" in outputs["memory"]:
        maps["transformer_encoder_features"] = outputs["memory"]["transformer_encoder"]
    maps["mask_features"] = outputs["mask_features"]
    named = {name: tf.transpose(value, (0, 3, 1, 2)) for name, value in maps.items()}
    layers = {"": outputs} | {f"aux_{index}.": layer for index, layer in enumerate(outputs["aux_outputs"])}
    for prefix, layer in layers.items():
        named[f"{prefix}pred_logits"] = layer["class_logits"]
        named[f"{prefix}pred_masks"] = layer["mask_logits"]
    return named
