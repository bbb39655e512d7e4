"""MaskFormer: a set of (class, mask) predictions from one image (arXiv:2107.06278).

backbone -> pixel decoder -> transformer decoder -> class logits and mask logits, for the last decoder layer and, with
deep supervision, for all of them. Losses are in `losses/`, what the logits mean as segments in `inference/`.
"""

from __future__ import annotations

import functools

import keras
from keras import ops

from maskformer_model.backend.precision import dtype_policy
from maskformer_model.config import ModelConfig
from maskformer_model.modeling.layers.convolution import ConvNorm, NormedConvolution
from maskformer_model.modeling.layers.mask_product import mask_product
from maskformer_model.modeling.registry import build_backbone, build_decoder, build_pixel_decoder


class MaskFormer(keras.Model):
    """The whole network.

    `call(image)`: `[batch, height, width, 3]` float, normalised (see `normalization.normalize`) -> dict with

    - `class_logits`: `[batch, queries, classes + 1]`; the last class is "no object";
    - `mask_logits`: `[batch, queries, height / 4, width / 4]`, sizes rounded up;
    - `aux_outputs`: the same two for decoder layers 0 to the last but one, in order; empty without deep supervision.

    Args:
        config: What to build; `num_classes` must be set.

    Raises:
        ValueError: if `config.num_classes` is 0.
    """

    def __init__(self, config: ModelConfig, **kwargs):
        super().__init__(**kwargs)
        if config.num_classes < 1:
            raise ValueError(f"`task.model.num_classes` must be positive. Received: {config.num_classes}")
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.pixel_decoder = build_pixel_decoder(config, name="pixel_decoder")
        self.predictor = build_decoder(config, self._decoder_channels(), name="predictor")

    def computing_in(self, dtype: str) -> MaskFormer:
        """Returns itself, or a copy with the same weights, in float32, whose layers compute in another type.

        Args:
            dtype: As in `runtime.mixed_precision_dtype`.
        """
        with dtype_policy(dtype):
            if keras.config.dtype_policy().compute_dtype == self.compute_dtype:
                return self
            copy = MaskFormer(self.config)
            copy.build()
        copy.set_weights(self.get_weights())
        return copy

    def convolutions(self) -> list[ConvNorm | NormedConvolution]:
        """Every convolution with a norm. A property would be saved in place of the layers that own them."""
        of_layers = [layer for layer in self._flatten_layers() if isinstance(layer, ConvNorm)]
        return [*of_layers, *getattr(self.backbone, "convolutions", list)()]

    def _decoder_channels(self) -> dict[str, int]:
        of_parts = {**self.backbone.output_channels, **self.pixel_decoder.output_channels}
        return {**of_parts, "pixel_embedding": self.config.mask_dim}

    def build(self, image_shape=None):
        """Makes the weights, which depend on no size; the first call does so too."""
        self.backbone.build((None, None, None, 3))
        features = {name: (None, None, None, width) for name, width in self.backbone.output_channels.items()}
        self.pixel_decoder.build(features)
        self.predictor.build()

    def call(self, image, training=None):
        outputs = self.outputs_with_features(image, training=training)
        return {name: outputs[name] for name in ("class_logits", "mask_logits", "aux_outputs")}

    def outputs_with_features(self, image, training=None):
        """`call`, plus what lies between: `features` by stage, `memory` of the pixel decoder and `mask_features`."""
        features = self.backbone(image, training=training)
        mask_features, memory = self.pixel_decoder(features, training=training)
        predictions = self.predictor({**features, **memory, "pixel_embedding": mask_features}, training=training)
        return {
            **predictions[-1],
            "aux_outputs": predictions[:-1],
            "features": features,
            "memory": memory,
            "mask_features": mask_features,
        }

    def propose(self, image):
        """Inference in two steps, of which the second, `mask_logits_of`, may be done for chosen queries alone.

        The masks' last convolution and their product with the queries are both linear, so for the few queries that
        become segments they are one convolution with far fewer outputs. The result is that of `call` but for rounding.

        Returns:
            `class_logits` `[batch, queries, classes + 1]`, `mask_embeddings` `[batch, queries, mask_dim]`, and
            `pixels` `[batch, height / 4, width / 4, channels]`: what the masks are made from.
        """
        features = self.backbone(image, training=False)
        hidden, memory = self.pixel_decoder.hidden_features(features, training=False)
        sources = {**features, **memory}
        if self.predictor.reads_mask_features and hidden is not None:
            sources["pixel_embedding"] = self.pixel_decoder.mask_features(hidden)
        class_logits, embeddings, *pixels = self.predictor.last_queries(sources)
        return {
            "class_logits": class_logits,
            "mask_embeddings": embeddings,
            "pixels": pixels[0] if pixels else sources.get("pixel_embedding", hidden),
        }

    def all_mask_logits(self, mask_embeddings, pixels):
        """Masks of all queries of a batch, equal to those of `call`.

        Args:
            mask_embeddings: `[batch, queries, mask_dim]`, of `propose`.
            pixels: `[batch, height / 4, width / 4, channels]`, of `propose`.

        Returns:
            `[batch, queries, height / 4, width / 4]`.
        """
        reads_mask_features = self.predictor.reads_mask_features
        return mask_product(
            mask_embeddings, pixels if reads_mask_features else self.pixel_decoder.mask_features(pixels)
        )

    def mask_logits_of(self, mask_embeddings, pixels):
        """Masks of chosen queries of one image.

        Args:
            mask_embeddings: `[chosen, mask_dim]`, rows of the `mask_embeddings` of `propose`.
            pixels: `[height, width, channels]`, of the same image.

        Returns:
            `[chosen, height / 4, width / 4]`.
        """
        embeddings = ops.transpose(mask_embeddings)
        if self.predictor.reads_mask_features:
            mask_logits = ops.matmul(pixels, embeddings)
        else:
            # A convolution whose kernel is computed from the photo, as nine products that are shifted and added: where
            # TensorFlow assumes frozen weights, it would keep the kernel of the first photo for all others.
            last = self.pixel_decoder.mask_features
            kernel = ops.matmul(ops.cast(last.kernel, embeddings.dtype), embeddings)
            bias = ops.matmul(ops.cast(last.bias, embeddings.dtype)[None], embeddings)[0]
            mask_logits = _convolve_by_products(pixels, kernel) + bias
        return ops.transpose(mask_logits, (2, 0, 1))


def _convolve_by_products(image, kernel):
    """Returns `[height, width, in]` by an odd square kernel `[size, size, in, out]`, zeros beyond the edge."""
    size, _, channels, _ = kernel.shape
    height, width = ops.shape(image)[0], ops.shape(image)[1]
    parts = ops.matmul(
        ops.reshape(image, (height * width, channels)), ops.reshape(ops.transpose(kernel, (2, 0, 1, 3)), (channels, -1))
    )
    parts = ops.reshape(parts, (height, width, size, size, -1))
    reach = size // 2
    padded = ops.pad(parts, ((reach, reach), (reach, reach), (0, 0), (0, 0), (0, 0)))
    shifted = [padded[y : y + height, x : x + width, y, x] for y in range(size) for x in range(size)]
    return functools.reduce(ops.add, shifted)
