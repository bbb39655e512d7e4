"""EoMT: a plain ViT's last blocks with queries among the tokens (arXiv:2503.19108, section 3; reference `eomt.py`).

In front of each of these blocks, and behind the last one, queries predict classes and masks. In training a query looks
only at the patches that its last mask covers; masks are given up block by block (mask annealing), so that at inference
nothing but a plain ViT is left, which predicts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from maskformer_model.backend.precision import precise_dtype
from maskformer_model.config import ModelConfig
from maskformer_model.modeling.decoders import heads
from maskformer_model.modeling.layers.bilinear import bilinear_matrix
from maskformer_model.modeling.layers.mask_product import mask_product
from maskformer_model.modeling.layers.upscaling import Upscaling, num_upscalings
from maskformer_model.modeling.layers.vit_blocks import VitBlocks


class EomtDecoder(keras.layers.Layer):
    """Queries in a ViT's last blocks, and their heads: tokens -> a dict of predictions, in training for each block."""

    reads_mask_features = True  # Masks are products with the per-pixel embeddings that it makes itself.

    def __init__(self, config: ModelConfig, channels: Mapping[str, int], **kwargs):
        super().__init__(**kwargs)
        settings: Any = config.decoder
        backbone: Any = config.backbone
        self.settings = settings
        self.dim = channels["patches"]
        self.num_queries = config.num_queries
        self.num_prefix = 1 + backbone.num_registers
        self.num_aux_outputs = settings.num_blocks
        # The name makes the optimizer treat them as the backbone's, which they are.
        self.backbone = VitBlocks(
            backbone, first=backbone.depth, count=settings.num_blocks, has_norm=True, name="backbone"
        )
        self.class_head = heads.class_head(self.dim, config.num_classes)
        self.mask_head = heads.mask_head(self.dim, config.mask_dim, activation="gelu")
        self.upscalings = [
            Upscaling(self.dim, name=f"upscaling_{index}") for index in range(num_upscalings(backbone.patch_size))
        ]
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, features_shape=None):
        """Makes the weights, which depend on no size."""
        self.queries = self.add_weight(
            name="queries",
            shape=(self.num_queries, self.dim),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )
        self.mask_probability = self.add_weight(
            name="mask_probability",
            shape=(self.settings.num_blocks,),
            initializer="ones",
            trainable=False,
            aggregation="only_first_replica",
            autocast=False,  # Compared with drawn numbers, which are float32.
        )
        self.backbone.build()
        for layer in (self.class_head, *self.mask_head):
            layer.build((None, None, self.dim))
        for layer in self.upscalings:
            layer.build()

    def call(self, features, training=None):
        predictions, _ = self.decode(features, training)
        return [
            {"class_logits": class_logits, "mask_logits": mask_product(embeddings, pixels)}
            for class_logits, embeddings, pixels in predictions
        ]

    def last_queries(self, features):
        """Returns class logits, mask embeddings and per-pixel embeddings of the last prediction, for inference."""
        return self.decode(features)[0][-1]

    def after_step(self, step):
        """Sets with which probability each block's attention is masked, after so many updates of the weights."""
        settings = self.settings
        if not settings.mask_annealing_starts:
            return
        step = ops.cast(step, "float32")
        probabilities = []
        for start, end in zip(settings.mask_annealing_starts, settings.mask_annealing_ends, strict=True):
            left = ops.clip((end - step) / max(end - start, 1), 0.0, 1.0)
            falling = ops.power(left, settings.mask_annealing_power)
            probabilities.append(ops.where(step < start, 1.0, ops.where(step < end, falling, 0.0)))
        self.mask_probability.assign(ops.stack(probabilities))

    def check_masks(self):
        """Checks that a training from these weights, if it anneals nothing, masks attention as inference does.

        Raises:
            ValueError: if it masks in training and not at inference, or the other way round.
        """
        settings, masks = self.settings, self.settings.masks_at_inference
        probabilities = ops.convert_to_numpy(self.mask_probability).tolist()
        if settings.mask_annealing_starts or all(probability == float(masks) for probability in probabilities):
            return
        here, there = ("without", "with") if masks else ("with", "without")
        give_up = (
            "Name steps of the training in `mask_annealing_starts` and `mask_annealing_ends` (all 0: no masks from the "
            "first step), or set `masks_at_inference` to true"
        )
        raise ValueError(
            "`task.model.decoder.mask_annealing_starts` is empty and `task.model.decoder.masks_at_inference` is "
            f"{str(masks).lower()}, so this network would train {here} attention masks and answer {there}. "
            f"{'Set `masks_at_inference` to false' if masks else give_up}. "
            f"Received probabilities of a mask, by block: {probabilities}"
        )

    def decode(self, features, training=None, uniform=None):
        """Runs the blocks.

        Args:
            features: The backbone's.
            training: Whether attention is masked at random, as `mask_probability` says.
            uniform: Numbers in [0, 1), `[batch, queries]` for each block, in place of drawn ones.

        Returns:
            The predictions, each as class logits `[batch, queries, classes + 1]`, mask embeddings `[batch, queries,
            dim]` and per-pixel embeddings `[batch, height / 4, width / 4, dim]`; and for each block that is masked,
            `[batch, queries, patches]` bool: where queries may look.
        """
        prefix, patches = features["prefix_tokens"], features["patches"]
        shape = ops.shape(patches)
        grid, num_others = shape[1:3], self.num_queries + self.num_prefix
        queries = ops.cast(ops.expand_dims(self.queries, 0), patches.dtype)
        queries = ops.broadcast_to(queries, (shape[0], self.num_queries, self.dim))
        patches = ops.reshape(patches, (shape[0], shape[1] * shape[2], self.dim))
        tokens = ops.concatenate([queries, prefix, patches], axis=1)
        rotation = self.backbone.rotation(grid, features.get("position_scale"))
        predictions, seen = [], []
        for index, block in enumerate(self.backbone.blocks):
            blocked = None
            if training or self.settings.masks_at_inference:
                predictions.append(self._predict(tokens, num_others, grid))
                _, embeddings, pixels = predictions[-1]
                seen.append(visible_patches(embeddings, pixels, grid))
                if training:
                    drawn = self._draw(shape[0]) if uniform is None else uniform[index]
                    seen[-1] = seen[-1] | (ops.expand_dims(drawn, 2) > self.mask_probability[index])
                blocked = ~seen[-1]
            tokens = block(tokens, rotation, blocked)
        return [*predictions, self._predict(tokens, num_others, grid)], seen

    def _draw(self, batch):
        return keras.random.uniform((batch, self.num_queries), seed=self.seed_generator)

    def _predict(self, tokens, num_others, grid):
        tokens = self.backbone.norm(tokens)
        batch = ops.shape(tokens)[0]
        # Of a photo whose size is unknown a slice has no static number of queries.
        queries = ops.reshape(tokens[:, : self.num_queries], (batch, self.num_queries, self.dim))
        embeddings = queries
        for layer in self.mask_head:
            embeddings = layer(embeddings)
        pixels = ops.reshape(tokens[:, num_others:], (batch, *grid, self.dim))
        for layer in self.upscalings:
            pixels = layer(pixels)
        return self.class_head(queries), embeddings, pixels


def visible_patches(embeddings, pixels, grid):
    """Returns `[batch, queries, patches]` bool: where the queries' masks, resized to the patches, are positive."""
    mask_logits = ops.cast(mask_product(ops.stop_gradient(embeddings), ops.stop_gradient(pixels)), precise_dtype())
    shape = ops.shape(mask_logits)
    rows, columns = (bilinear_matrix(length, new) for length, new in zip(shape[2:], grid, strict=True))
    resized = ops.matmul(ops.matmul(rows, mask_logits), ops.transpose(columns))
    return ops.reshape(resized > 0, (shape[0], shape[1], grid[0] * grid[1]))
