"""Measures an EoMT: on the points and random masks that the official code drew, which can all be drawn again."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import tensorflow as tf

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.config import LossConfig, OptimizerConfig
from maskformer_model.data.normalization import normalize
from maskformer_model.modeling.layers.mask_product import mask_product
from tests.parity.assignment_rows import Costs
from tests.parity.eomt_evaluation import answers
from tests.parity.golden_folder import GoldenFolder, read_batch
from tests.parity.mask2former_family import PointsRun, packed
from tests.parity.maskformer_family import float_type, trained
from tests.parity.measurement import Arrays, Measurement

_TERMS = {"loss_ce": "loss_cross_entropy"}


def measure(folder: GoldenFolder, *, float64: bool = False, nudge: int = 0) -> Measurement:
    """Runs the trajectory, the losses on every pixel centre, half-masked and unmasked passes, and the evaluation."""
    with float_type("float64" if float64 else "float32"):
        run = _EomtRun(folder, nudge)
        layers = run.first_layers()
        before = {**run.costs_of(layers), **run.half_masked(), **run.unmasked()}
        matches, exact_losses = run.exact_of(layers)
        evaluated, maps = answers(run.network, folder)
        measurement = trained(run, folder)
        measurement.outputs |= {**before, **matches, **evaluated}
        measurement.exact_losses = exact_losses
        measurement.maps = maps
        given = {name for name in folder.outputs if re.match(r"half\.(attn_mask_probs|uniform\.)", name)}
        measurement.given = frozenset(given)
        return measurement


def matching_costs(folder: GoldenFolder) -> Costs:
    """Returns the official costs of every pair, with the sum of the magnitudes of their terms."""
    weight = folder.settings["criterion"]["class"]
    _, _, _, segment_classes = read_batch(folder.path)
    costs: Costs = {}
    for layer in range(sum(bool(re.match(r"layer_\d+\.pred_logits$", name)) for name in folder.outputs)):
        for image, classes in enumerate(segment_classes):
            logits = folder.outputs[f"layer_{layer}.pred_logits"][image].astype(np.float64)
            probs = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
            cost = folder.outputs[f"cost.layer_{layer}.image_{image}"].astype(np.float64)
            # The class earns what the other two terms, which are not negative, cost on top of the sum.
            costs[layer, image] = cost, cost + 2 * weight * probs[:, classes[classes >= 0]]
    return costs


class _EomtRun(PointsRun):
    """A golden EoMT that is trained with given points and given masks."""

    def read_batch(self, folder: GoldenFolder) -> tuple[Any, Any, Any, Any]:
        return read_batch(folder.path)

    def read_loss_config(self, settings: dict[str, Any]) -> LossConfig:
        criterion = settings["criterion"]
        return LossConfig(
            class_weight=criterion["class"],
            class_cost=criterion["class"],
            mask_weight=criterion["mask"],
            dice_weight=criterion["dice"],
            background_cls_weight=criterion["no_object"],
            pixel_loss="cross_entropy",
            mask_loss="points",
            mask_normalizer="pairs",
            num_points=criterion["num_points"],
            oversample_ratio=criterion["oversample_ratio"],
            importance_sample_ratio=criterion["importance_sample_ratio"],
        )

    def read_optimizer_config(self, settings: dict[str, Any]) -> tuple[OptimizerConfig, int]:
        train = settings["train"]
        # The reference reads `lr_mult` only here: it spares the last blocks the decay as well.
        spares = not train.get("llrd_l2_enabled", True) or train.get("lr_mult", 1.0) != 1.0
        config = OptimizerConfig(
            learning_rate=train.get("lr", 1e-4),
            backbone_multiplier=1.0,
            layer_decay=train.get("llrd", 0.8),
            undecayed_blocks=settings["network"]["num_blocks"] if spares else 0,
            weight_decay=train.get("weight_decay", 0.05),
            decays_everything=True,
            clip_norm=settings["solver"]["clip_global_norm"],
            schedule="two_stage_poly",
            power=train.get("poly_power", 0.9),
            warmup_steps=train["warmup_steps"][0],
            backbone_warmup_steps=train["warmup_steps"][1],
        )
        return config, settings["total_steps"]

    def points_of_step(self, step: int) -> Arrays:
        """Draws what the folder lists, in its order; a block whose attention is always masked gets zeros."""
        points = self.folder.settings["points"]
        drawn = {}
        for name, call, shape in points["per_step"][step]:
            generator = np.random.default_rng([points["seed"], step, call])
            drawn[name] = generator.random(shape, dtype=np.float32).astype(precise_dtype())
        num_images, found = len(self.batch[0]), {}
        for layer in range(self._num_blocks + 1):
            of_images = [drawn[f"matcher.layer_{layer}.image_{image}"] for image in range(num_images)]
            found[f"{layer}.matcher"] = np.concatenate(of_images)
            for kind in ("oversampled", "random"):
                if f"loss_{kind}.layer_{layer}" in drawn:
                    found[f"{layer}.{kind}"] = drawn[f"loss_{kind}.layer_{layer}"]
        still = np.zeros((num_images, self.network.config.num_queries), precise_dtype())
        for index, block in enumerate(self._blocks):
            found[f"uniform.{index}"] = drawn.get(f"mask_disabled_uniform.block_{block}", still)
        return found

    def forward(self, normalized: Any, points: dict[str, Any]) -> dict[str, Any]:
        features = self.network.backbone(normalized, training=True)
        uniform = [points[f"uniform.{index}"] for index in range(self._num_blocks)]
        return self._named(features, *self.network.predictor.decode(features, True, uniform))

    def first_layers(self) -> list[dict[str, Any]]:
        image, valid_size_px, _, _ = self.batch
        outputs = self.forward(normalize(image, valid_size_px), self.points_of_step(0))
        return [*outputs["aux_outputs"], {name: outputs[name] for name in ("class_logits", "mask_logits")}]

    def official_outputs(self, normalized: Any, outputs: dict[str, Any]) -> dict[str, Any]:
        named = self._tokens_of_blocks(normalized, outputs["seen"])
        for layer, predicted in enumerate([*outputs["aux_outputs"], outputs]):
            masks, name = predicted["mask_logits"], f"layer_{layer}.pred_masks"
            # A folder holds the masks of a layer in full or thinned out.
            thinned = f"{name}_every4" in self.folder.outputs
            named |= {f"{name}_every4": masks[:, :, ::4, ::4]} if thinned else {name: masks}
            named[f"layer_{layer}.pred_logits"] = predicted["class_logits"]
        for block, seen in zip(self._blocks, outputs["seen"], strict=True):
            named[f"attention_allowed.block_{block}"] = packed(seen)
        return named

    def official_losses(self, terms: dict[str, Any]) -> dict[str, Any]:
        named = {}
        for name, value in terms.items():
            term, _, layer = re.fullmatch(r"(loss_[a-z]+)(_(\d+))?", name).groups()
            suffix = "" if layer is None else f"_block_{int(layer) - self._num_blocks}"
            named[f"{_TERMS.get(term, term)}{suffix}"] = value
        return named

    def step(self) -> dict[str, Any]:
        taken = super().step()
        schedule, step = self.optimizer._learning_rate, self._num_steps - 1
        probabilities = np.asarray(self.network.predictor.mask_probability)
        taken["losses"] |= {f"attn_mask_probs.{index}": float(value) for index, value in enumerate(probabilities)}
        taken["losses"] |= {
            "lr_head": float(schedule(step)),
            "lr_backbone_norm": float(schedule.backbone_rate(step)),
        }
        return taken

    def apply(self) -> None:
        super().apply()
        self.network.predictor.after_step(self._num_steps)

    def half_masked(self) -> Arrays:
        """Runs the network with masks that some queries have given up."""
        given = self.folder.outputs
        uniform = [given[f"half.uniform.block_{block}"].astype(precise_dtype()) for block in self._blocks]
        probability = self.network.predictor.mask_probability
        before = np.asarray(probability)
        probability.assign(given["half.attn_mask_probs"])
        outputs = self.forward(self._normalized(), {f"uniform.{index}": one for index, one in enumerate(uniform)})
        probability.assign(before)
        found = {"half.pred_masks": outputs["mask_logits"], "half.pred_logits": outputs["class_logits"]}
        for block, seen in zip(self._blocks, outputs["seen"], strict=True):
            found[f"half.attention_allowed.block_{block}"] = packed(seen)
        return {name: np.asarray(value) for name, value in found.items()}

    def unmasked(self) -> Arrays:
        """Runs the network as at inference."""
        outputs = self.network(self._normalized(), training=False)
        names = {"plain.pred_masks": "mask_logits", "plain.pred_logits": "class_logits"}
        return {name: np.asarray(outputs[ours]) for name, ours in names.items()}

    @property
    def _num_blocks(self) -> int:
        return self.network.config.decoder.num_blocks

    @property
    def _blocks(self) -> range:
        """Numbers of the blocks with queries."""
        depth = self.network.config.backbone.depth
        return range(depth, depth + self._num_blocks)

    def _normalized(self) -> Any:
        image, valid_size_px, _, _ = self.batch
        return normalize(image, valid_size_px)

    def _tokens_of_blocks(self, normalized: Any, seen: list[Any]) -> dict[str, Any]:
        """Names the tokens that enter each block; runs the network block by block."""
        backbone, predictor = self.network.backbone, self.network.predictor
        named, tokens = {}, backbone.tokens(normalized)
        grid = [edge // backbone.config.patch_size for edge in normalized.shape[1:3]]
        rotation = backbone.blocks.rotation(grid)
        for block in backbone.blocks.blocks:
            named[f"block_{len(named)}.input"] = tokens
            tokens = block(tokens, rotation)
        queries = tf.repeat(tf.convert_to_tensor(predictor.queries)[None], tokens.shape[0], axis=0)
        tokens = tf.concat([queries, tokens], axis=1)
        for block, where in zip(predictor.backbone.blocks, seen, strict=True):
            named[f"block_{len(named)}.input"] = tokens
            tokens = block(tokens, rotation, ~where)
        return named

    def _named(self, features: dict[str, Any], predictions: list[Any], seen: list[Any]) -> dict[str, Any]:
        layers = [
            {"class_logits": class_logits, "mask_logits": mask_product(embeddings, pixels)}
            for class_logits, embeddings, pixels in predictions
        ]
        return {**layers[-1], "aux_outputs": layers[:-1], "seen": seen, "features": features}
