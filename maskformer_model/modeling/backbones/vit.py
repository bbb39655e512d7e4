"""A plain vision transformer as DINOv2 and DINOv3 train it (arXiv:2010.11929, arXiv:2304.07193, arXiv:2508.10104).

A photo is cut into patches; a class token and register tokens join them, and blocks of attention run over all. There is
one scale only. The last blocks of a published network are not here but in the decoder that puts queries among the
tokens (`decoders/eomt.py`).
"""

from __future__ import annotations

import math

import keras
from keras import ops

from maskformer_model.config import VitConfig
from maskformer_model.modeling.layers.bilinear import resize_bilinear
from maskformer_model.modeling.layers.vit_blocks import VitBlocks, truncated_normal


class VisionTransformer(keras.layers.Layer):
    """Image `[batch, height, width, 3]` float, normalised -> tokens; sizes must be whole patches.

    `call` returns `patches` `[batch, height / patch, width / patch, dim]`, and `prefix_tokens` `[batch, 1 + registers,
    dim]`: the class token and the registers. With rotary positions, training adds the scalar `position_scale`.

    Args:
        config: See `VitConfig`.

    Attributes:
        output_channels: Channels of each output by name.
    """

    def __init__(self, config: VitConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config
        self.grid = tuple(edge // config.patch_size for edge in config.image_size_px)
        self.output_channels = dict.fromkeys(config.gives, config.embed_dim)
        self.patch_embedding = keras.layers.Conv2D(
            config.embed_dim,
            config.patch_size,
            config.patch_size,
            kernel_initializer=truncated_normal(),
            name="patch_embedding",
        )
        self.blocks = VitBlocks(config, first=0, count=config.depth, name="blocks")
        rescales = config.position_encoding == "rotary" and config.rope_rescale > 1
        self.seed_generator = keras.random.SeedGenerator() if rescales else None

    def build(self, image_shape=None):
        """Makes the weights, which do not depend on the photo's size."""
        dim = self.config.embed_dim
        self.patch_embedding.build((None, None, None, 3))
        almost_zero = keras.initializers.RandomNormal(stddev=1e-6)
        self.class_token = self.add_weight(name="class_token", shape=(1, dim), initializer=almost_zero)
        shape = (self.config.num_registers, dim)
        self.registers = self.add_weight(name="registers", shape=shape, initializer=almost_zero)
        if self.config.position_encoding == "learned":
            self.position_embedding = self.add_weight(
                name="position_embedding", shape=(math.prod(self.grid), dim), initializer=truncated_normal()
            )
        self.blocks.build()

    def call(self, image, training=None):
        grid = tuple(edge // self.config.patch_size for edge in ops.shape(image)[1:3])
        drawn = {"position_scale": self._draw_scale()} if training and self.seed_generator is not None else {}
        tokens = self.blocks(self.tokens(image), self.blocks.rotation(grid, drawn.get("position_scale")))
        num_prefix = 1 + self.config.num_registers
        patches = ops.reshape(tokens[:, num_prefix:], (ops.shape(image)[0], *grid, self.config.embed_dim))
        return {"prefix_tokens": tokens[:, :num_prefix], "patches": patches, **drawn}

    def tokens(self, image):
        """Returns what enters the first block: the prefix tokens and the patches, `[batch, tokens, dim]`."""
        self._check_size(image.shape)
        patches = self.patch_embedding(image)
        shape = ops.shape(patches)
        if self.config.position_encoding == "learned":
            patches = patches + ops.cast(self._positions(patches), patches.dtype)
        prefix = ops.cast(ops.concatenate([self.class_token, self.registers], axis=0), patches.dtype)
        prefix = ops.broadcast_to(ops.expand_dims(prefix, 0), (shape[0], *prefix.shape))
        return ops.concatenate([prefix, ops.reshape(patches, (shape[0], shape[1] * shape[2], shape[3]))], axis=1)

    def _draw_scale(self):
        """What all positions of this step are multiplied by, evenly on a logarithmic scale."""
        largest = math.log(self.config.rope_rescale)
        return ops.exp(keras.random.uniform((), -largest, largest, seed=self.seed_generator))

    def _positions(self, patches):
        """`[1, rows, columns, dim]`; resized where the photo has another number of patches than the table."""
        table = ops.reshape(self.position_embedding, (1, *self.grid, self.config.embed_dim))
        if tuple(patches.shape[1:3]) == self.grid:
            return table
        return resize_bilinear(table, *ops.shape(patches)[1:3])

    def _check_size(self, shape):
        patch = self.config.patch_size
        if any(edge is not None and edge % patch for edge in shape[1:3]):
            raise ValueError(f"`image` must be whole patches of {patch} px high and wide. Received: {tuple(shape)}")
