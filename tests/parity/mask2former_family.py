"""Measures a Mask2Former: on the points that the official code drew, which can all be drawn again from their seed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.config import LossConfig
from maskformer_model.data.normalization import normalize
from maskformer_model.losses import criterion, matcher, point_loss
from maskformer_model.modeling.decoders.masked_attention import SCALES, mask_features_of_size
from tests.parity.assignment_rows import Costs
from tests.parity.golden_folder import GoldenFolder, read_batch
from tests.parity.maskformer_family import TrainingRun, float_type, trained
from tests.parity.measurement import Arrays, Measurement


def measure(folder: GoldenFolder, *, float64: bool = False, nudge: int = 0) -> Measurement:
    """Runs the whole trajectory of the folder, and the losses on every pixel centre at its first weights."""
    with float_type("float64" if float64 else "float32"):
        run = PointsRun(folder, nudge)
        layers = run.first_layers()
        costs, exact_matches, exact_losses = run.costs_of(layers), *run.exact_of(layers)
        measurement = trained(run, folder)
        measurement.outputs |= {**costs, **exact_matches}
        measurement.exact_losses = exact_losses
        return measurement


def matching_costs(folder: GoldenFolder) -> Costs:
    """Returns the official costs of every pair, with the sum of the magnitudes of their terms.

    They were computed in float32: the folder does not hold all the masks that are needed to compute them again.
    """
    weight = folder.settings["mask_former"]["CLASS_WEIGHT"]
    _, _, _, segment_classes = read_batch(folder.path, folder.settings["mask_former"]["SIZE_DIVISIBILITY"])
    num_layers = sum(name.endswith("pred_logits") for name in folder.outputs)
    costs: Costs = {}
    for layer in range(num_layers):
        prefix = f"aux_{layer}." if layer < num_layers - 1 else ""
        for image, classes in enumerate(segment_classes):
            logits = folder.outputs[f"{prefix}pred_logits"][image].astype(np.float64)
            probs = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
            cost = folder.outputs[f"cost.layer_{layer}.image_{image}"].astype(np.float64)
            # The class earns what the other two terms, which are not negative, cost on top of the sum.
            costs[layer, image] = cost, cost + 2 * weight * probs[:, classes[classes >= 0]]
    return costs


class PointsRun(TrainingRun):
    """A golden Mask2Former that is trained on given points."""

    def __init__(self, folder: GoldenFolder, nudge: int = 0):
        self.folder = folder
        super().__init__(folder, nudge)

    def read_loss_config(self, settings: dict[str, Any]) -> LossConfig:
        options = settings["mask_former"]
        return LossConfig(
            class_weight=options["CLASS_WEIGHT"],
            class_cost=options["CLASS_WEIGHT"],
            mask_weight=options["MASK_WEIGHT"],
            dice_weight=options["DICE_WEIGHT"],
            background_cls_weight=options["NO_OBJECT_WEIGHT"],
            pixel_loss="cross_entropy",
            mask_loss="points",
            num_points=options["TRAIN_NUM_POINTS"],
            oversample_ratio=options["OVERSAMPLE_RATIO"],
            importance_sample_ratio=options["IMPORTANCE_SAMPLE_RATIO"],
        )

    def points_of_step(self, step: int) -> Arrays:
        """Draws in the official order: the final prediction first; for each the matcher's points image by image, then
        the loss's candidates and its even points, a row for each matched pair.
        """
        config, options = self.loss_config, self.folder.settings["mask_former"]
        segment_classes = self.batch[3]
        num_targets = (segment_classes >= 0).sum(axis=1)
        num_pairs = int(np.minimum(num_targets, options["NUM_OBJECT_QUERIES"]).sum())
        num_uncertain = int(config.importance_sample_ratio * config.num_points)
        num_candidates = int(config.oversample_ratio * config.num_points)
        last = options["DEC_LAYERS"] - 1
        seed, call, points = self.folder.settings["points"]["seed"], 0, {}
        for layer in (last, *range(last)):
            shapes = [(f"matcher{image}", (1, config.num_points, 2)) for image in range(len(segment_classes))]
            shapes.append(("oversampled", (num_pairs, num_candidates, 2)))
            if config.num_points > num_uncertain:
                shapes.append(("random", (num_pairs, config.num_points - num_uncertain, 2)))
            drawn = {}
            for kind, shape in shapes:
                generator = np.random.default_rng([seed, step, call])
                drawn[kind] = generator.random(shape, dtype=np.float32).astype(precise_dtype())
                call += 1
            of_images = [drawn.pop(f"matcher{image}") for image in range(len(segment_classes))]
            drawn["matcher"] = np.concatenate(of_images)
            points |= {f"{layer}.{kind}": values for kind, values in drawn.items()}
        return points

    def official_outputs(self, normalized: Any, outputs: dict[str, Any]) -> dict[str, Any]:
        named = super().official_outputs(normalized, outputs)
        for index in range(3):
            named[f"multi_scale_features.{index}"] = tf.transpose(outputs["memory"][f"scale_{index}"], (0, 3, 1, 2))
        every_fourth = {f"{name}_every4": named[name][:, :, ::4, ::4] for name in named if name.endswith("pred_masks")}
        named |= every_fourth
        features = {**outputs["memory"], "pixel_embedding": outputs["mask_features"]}
        _, embeddings, blocked = self.network.predictor.decode(features)
        for layer, cells in enumerate(blocked):
            named[f"attention_mask.layer_{layer}"] = packed(cells)
            is_opened = self._is_negative_everywhere(embeddings[layer], features, layer)
            named[f"attention_rows_opened.layer_{layer}"] = tf.cast(is_opened, tf.int8)
        # A folder holds the masks of a layer in full or thinned out; what it holds of neither stays, and fails.
        for full in [name.removesuffix("_every4") for name in every_fourth]:
            held = [name for name in (full, f"{full}_every4") if name in self.folder.outputs] or [full]
            for name in {full, f"{full}_every4"} - set(held):
                del named[name]
        return named

    def _is_negative_everywhere(self, embedding, features, layer):
        cells = mask_features_of_size(features["pixel_embedding"], features[SCALES[layer % len(SCALES)]])
        return tf.reduce_all(tf.sigmoid(tf.einsum("bqc,bpc->bqp", embedding, cells)) < 0.5, axis=2)

    def first_layers(self) -> list[dict[str, Any]]:
        """Runs the network once, before any update."""
        image, valid_size_px, _, _ = self.batch
        outputs = self.network(normalize(image, valid_size_px), training=True)
        return [*outputs["aux_outputs"], {name: outputs[name] for name in ("class_logits", "mask_logits")}]

    def costs_of(self, layers: list[dict[str, Any]]) -> Arrays:
        """Computes the matcher's costs at step 0, `[queries, targets]` of every layer and image."""
        _, _, segment_map, segment_classes = self.batch
        points, config, costs = self.points_of_step(0), self.loss_config, {}
        for layer, predicted in enumerate(layers):
            at = points[f"{layer}.matcher"]
            cost = matcher.matching_cost(
                predicted["class_logits"],
                point_loss.sample_masks(predicted["mask_logits"], at),
                point_loss.sample_targets(segment_map, at, segment_classes.shape[1]),
                segment_classes,
                class_weight=config.class_cost,
                mask_weight=config.mask_weight,
                dice_weight=config.dice_weight,
                pixel_loss=config.pixel_loss,
            )
            for image, classes in enumerate(segment_classes):
                num_targets = int((classes >= 0).sum())
                costs[f"cost.layer_{layer}.image_{image}"] = np.asarray(cost[image])[:, :num_targets]
        return costs

    def exact_of(self, layers: list[dict[str, Any]]) -> tuple[Arrays, dict[str, float]]:
        """Matches and computes the losses with every pixel centre as a point: assignments and terms."""
        _, _, segment_map, segment_classes = self.batch
        height, width = segment_map.shape[1:]
        y, x = np.mgrid[:height, :width]
        centres = np.stack([(x.ravel() + 0.5) / width, (y.ravel() + 0.5) / height], axis=-1).astype(precise_dtype())
        config = dataclasses.replace(
            self.loss_config, num_points=len(centres), oversample_ratio=1.0, importance_sample_ratio=0.0
        )

        def draw(layer, kind, shape):
            return np.broadcast_to(centres, shape)

        queries, finite = criterion.match_layers(layers, segment_map, segment_classes, config, draw=draw)
        outputs = {**layers[-1], "aux_outputs": layers[:-1]}
        terms = criterion.maskformer_losses(
            outputs, segment_map, segment_classes, config, matched=(queries, finite), draw=draw
        )
        losses = {name: float(value) for name, value in self.official_losses(terms).items()}
        return _matches(queries), {**losses, "total": sum(losses.values())}


def _matches(queries: list[Any]) -> Arrays:
    """Assignments as the folder has them: by ascending query."""
    found: Arrays = {}
    for layer, of_layer in enumerate(np.asarray(query) for query in queries):
        for image, query in enumerate(of_layer):
            targets = np.flatnonzero(query >= 0)
            targets = targets[np.argsort(query[targets])]
            found[f"exact_match.layer_{layer}.image_{image}.query"] = query[targets]
            found[f"exact_match.layer_{layer}.image_{image}.target"] = targets
    return found


def packed(cells: Any) -> Any:
    """`numpy.packbits` over the last axis, as int32 of 0..255."""
    missing = -cells.shape[2] % 8
    bits = tf.cast(tf.pad(cells, [[0, 0], [0, 0], [0, missing]]), tf.int32)
    bits = tf.reshape(bits, (*cells.shape[:2], -1, 8))
    return tf.reduce_sum(bits * [128, 64, 32, 16, 8, 4, 2, 1], axis=3)
