"""Changes photo and segment map together at random: resize, crop, flip, colour.

| `parser.augmentation` | what happens                                                                              |
|-----------------------|-------------------------------------------------------------------------------------------|
| none                  | resize to the largest shortest edge                                                       |
| flip                  | resize to a random shortest edge, flip                                                    |
| detr                  | half of the time resize and crop; resize to a random shortest edge; flip (COCO)           |
| lsj                   | large-scale jitter: resize by a random scale, crop, flip (arXiv:2012.07177)               |
| semantic              | resize to a random shortest edge, crop, colour jitter, flip (ADE20K, Cityscapes, Vistas)  |

These are the augmentations of the official MaskFormer and, for lsj, Mask2Former. What differs from them:

- The random numbers.
- Photos: a resized value may be 1 grey level off Pillow's (`preprocessing.resize_image`).
- The colour jitter computes in float and rounds once. OpenCV's way cuts to whole levels after every step, in 180 hues,
  and so turns hue by whole steps of 2 degrees.
- lsj draws the crop's two offsets apart.

Maps are resized by two rules, as there. Panoptic and instance maps take the pixel whose centre is nearest,
`floor((i + 0.5) * old / new)`, as Pillow does for a panoptic PNG. Semantic maps take `floor(i * old / new)`, as
PyTorch's "nearest" does for a label map: half a step, 0.5 * old / new pixels, further left and up.

Every function is stateless: the same `seed` gives the same result, eagerly and inside tf.data. Photos are uint8
throughout, and a photo is never resized more often than the reference does. Padding is left to `input_pipeline.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from maskformer_model.config import PANOPTIC, SEMANTIC, ParserConfig
from maskformer_model.data.color_jitter import gentle_color_jitter
from maskformer_model.data.preprocessing import resize_image, resized_size

NearestPixels = Callable[[Any, Any], tf.Tensor]  # Old and new edge in px -> `[new edge]` the old pixel of each new one.

_NO_LIMIT_PX = 2**30
MOST_CROPS = 50  # Of one photo, where all of them miss its segments.


def nearest_centers(old_edge_px, new_edge_px) -> tf.Tensor:
    """Returns the pixel whose centre is nearest, in exact integers, as Pillow resizes a panoptic PNG."""
    old_edge_px, new_edge_px = tf.cast(old_edge_px, tf.int64), tf.cast(new_edge_px, tf.int64)
    return (2 * tf.range(new_edge_px) + 1) * old_edge_px // (2 * new_edge_px)


def nearest_corners(old_edge_px, new_edge_px) -> tf.Tensor:
    """The pixel that holds the new one's upper left corner, as `torch.nn.functional.interpolate` resizes a label map.

    Equal to torch 2.13 where the new height and width together exceed 128 px; below, torch computes in float32, which
    for one of 4000 pixels falls on the other side of a whole number.
    """
    old_edge_px, new_edge_px = tf.cast(old_edge_px, tf.int64), tf.cast(new_edge_px, tf.int64)
    scale = tf.cast(old_edge_px, tf.float64) / tf.cast(new_edge_px, tf.float64)
    # Rounded to float32 before the floor, as there: on photos above 2600 px some pixels depend on it.
    corners = tf.floor(tf.cast(tf.cast(tf.range(new_edge_px), tf.float64) * scale, tf.float32))
    return tf.minimum(tf.cast(corners, tf.int64), old_edge_px - 1)


def prepare(
    image: tf.Tensor, segment_map: tf.Tensor, parser: ParserConfig, kind: str = PANOPTIC
) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies the part of an augmentation that is not random, which a cache can keep.

    Args:
        image: `[height, width, 3]` uint8.
        segment_map: `[height, width]` uint8.
        parser: its `augmentation`, `min_sizes_px` and `max_size_px` are used.
        kind: "panoptic", "instance" or "semantic"; which rule the map is resized by.

    Returns:
        Photo and map, resized if there is but one size, otherwise as they came.
    """
    if not _has_one_size(parser):
        return image, segment_map
    size_px = _sized(image, max(parser.min_sizes_px), parser.max_size_px)
    return resize(image, segment_map, size_px, nearest=_rule_of(kind))


def augment(
    image: tf.Tensor, segment_map: tf.Tensor, parser: ParserConfig, seed: tf.Tensor, kind: str = PANOPTIC
) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies the random part of an augmentation.

    Args:
        image: `[height, width, 3]` uint8 RGB, from `prepare`.
        segment_map: `[height, width]` uint8, from `prepare`.
        parser: see `ParserConfig`.
        seed: `[2]` int64.
        kind: as for `prepare`.

    Returns:
        Photo and map, of a new common height and width.
    """
    if parser.augmentation == "none":
        return image, segment_map
    size_seed, flip_seed, color_seed = tf.unstack(tf.random.split(seed, 3))
    nearest = _rule_of(kind)
    if parser.augmentation == "detr":
        # Flipped first, as there: mirrored before or after, a map's pixels between two old ones are others.
        image, segment_map = random_flip(image, segment_map, flip_seed)
        return detr_resize_crop(image, segment_map, parser, size_seed, nearest)
    if parser.augmentation == "lsj":
        # Coloured while it is whole, as in EoMT: the mean that contrast is about is the photo's, not the crop's.
        image = gentle_color_jitter(image, color_seed) if parser.jitters_color else image
        if parser.redraws_empty_crops:
            size_seed = seed_of_seen_crop(segment_map, parser, size_seed, nearest)
        image, segment_map = large_scale_jitter(image, segment_map, parser, size_seed, nearest)
    elif parser.augmentation == "semantic":
        image, segment_map = resize_crop(image, segment_map, parser, size_seed, nearest)
        image = color_jitter(image, color_seed)
    elif not _has_one_size(parser):
        size_px = _random_size(image, parser.min_sizes_px, parser.max_size_px, size_seed)
        image, segment_map = resize(image, segment_map, size_px, nearest=nearest)
    return random_flip(image, segment_map, flip_seed)


def resize(
    image: tf.Tensor, segment_map: tf.Tensor, size_px, crop_px=None, nearest: NearestPixels = nearest_centers
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes photo (bilinear) and map (nearest), and crops both.

    Args:
        image: `[height, width, 3]` uint8.
        segment_map: `[height, width]` integers.
        size_px: `(height, width)`.
        crop_px: `(top, left, height, width)` in the resized photo; `None`: all of it.
        nearest: The map's rule, `nearest_centers` or `nearest_corners`.
    """
    rows = nearest(tf.shape(segment_map)[0], size_px[0])
    columns = nearest(tf.shape(segment_map)[1], size_px[1])
    if crop_px is not None:
        top, left, height, width = tf.unstack(crop_px, num=4)
        rows, columns = rows[top : top + height], columns[left : left + width]
    # Gathering whole rows, twice, takes a third of the time that gathering along the second axis does.
    cropped_map = tf.transpose(tf.gather(tf.transpose(tf.gather(segment_map, rows)), columns))
    return resize_image(image, size_px, crop_px), cropped_map


def random_flip(image: tf.Tensor, segment_map: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirrors photo and map left to right, half of the time."""
    return tf.cond(
        _uniform(seed) < 0.5,
        lambda: (tf.reverse(image, axis=[1]), tf.reverse(segment_map, axis=[1])),
        lambda: (image, segment_map),
    )


def detr_resize_crop(
    image: tf.Tensor, segment_map: tf.Tensor, parser: ParserConfig, seed: tf.Tensor, nearest: NearestPixels
) -> tuple[tf.Tensor, tf.Tensor]:
    """Half of the time resizes and crops (edges within `crop_size_px`), then resizes to a random shortest edge."""
    coin_seed, first_seed, crop_seed, offset_seed, last_seed = tf.unstack(tf.random.split(seed, 5))

    def cropped() -> tuple[tf.Tensor, tf.Tensor]:
        size_px = _random_size(image, parser.crop_min_sizes_px, _NO_LIMIT_PX, first_seed)
        smallest_px, largest_px = (tf.minimum(size_px, edge_px) for edge_px in parser.crop_size_px)
        crop_size_px = _random_integers(smallest_px, largest_px + 1, crop_seed)
        return resize(image, segment_map, size_px, _random_crop(size_px, crop_size_px, offset_seed), nearest)

    image, segment_map = tf.cond(_uniform(coin_seed) < 0.5, cropped, lambda: (image, segment_map))
    size_px = _random_size(image, parser.min_sizes_px, parser.max_size_px, last_seed)
    return resize(image, segment_map, size_px, nearest=nearest)


def large_scale_jitter(
    image: tf.Tensor, segment_map: tf.Tensor, parser: ParserConfig, seed: tf.Tensor, nearest: NearestPixels
) -> tuple[tf.Tensor, tf.Tensor]:
    """Fits the photo into `output_size` times a random scale of `scale_range`, and crops it to `output_size`."""
    new_size_px, crop_px = _jittered_size_and_crop(tf.shape(image)[:2], parser, seed)
    return resize(image, segment_map, new_size_px, crop_px, nearest)


def seed_of_seen_crop(
    segment_map: tf.Tensor, parser: ParserConfig, seed: tf.Tensor, nearest: NearestPixels
) -> tf.Tensor:
    """Returns the first of a row of seeds with which `large_scale_jitter` shows a segment; the last one if none does.

    A map without any segment is not tried again.
    """

    def is_empty(seed):
        new_size_px, crop_px = _jittered_size_and_crop(tf.shape(segment_map), parser, seed)
        top, left, height, width = tf.unstack(crop_px, num=4)
        rows = nearest(tf.shape(segment_map)[0], new_size_px[0])[top : top + height]
        columns = nearest(tf.shape(segment_map)[1], new_size_px[1])[left : left + width]
        return tf.reduce_max(tf.gather(tf.gather(segment_map, rows), columns, axis=1)) == 0

    _, seed = tf.while_loop(
        lambda tries, seed: (tries < MOST_CROPS) & is_empty(seed) & (tf.reduce_max(segment_map) > 0),
        lambda tries, seed: (tries + 1, tf.random.split(seed, 1)[0]),
        (0, seed),
    )
    return seed


def _jittered_size_and_crop(size_px: tf.Tensor, parser: ParserConfig, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    scale_seed, offset_seed = tf.unstack(tf.random.split(seed, 2))
    old_size_px = tf.cast(size_px, tf.float32)
    box_px = tf.constant(parser.output_size, tf.float32) * _uniform(scale_seed, *parser.scale_range)
    new_size_px = tf.round(old_size_px * tf.reduce_min(box_px / old_size_px))
    new_size_px = tf.maximum(tf.cast(new_size_px, tf.int32), 1)
    crop_size_px = tf.minimum(new_size_px, parser.output_size)
    return new_size_px, _random_crop(new_size_px, crop_size_px, offset_seed)


def resize_crop(
    image: tf.Tensor, segment_map: tf.Tensor, parser: ParserConfig, seed: tf.Tensor, nearest: NearestPixels
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes to a random shortest edge and crops to at most `crop_size_px`."""
    size_seed, offset_seed = tf.unstack(tf.random.split(seed, 2))
    size_px = _random_size(image, parser.min_sizes_px, parser.max_size_px, size_seed)
    crop_size_px = tf.minimum(size_px, parser.crop_size_px)
    return resize(image, segment_map, size_px, _random_crop(size_px, crop_size_px, offset_seed), nearest)


def color_jitter(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast, saturation and hue, each half of the time (SSD, arXiv:1512.02325).

    Brightness moves by at most 32 of 255 levels, contrast and saturation are scaled by 0.5 to 1.5, hue turns by at
    most 36 degrees. Contrast comes directly after brightness or at the end, half of the time each.

    Args:
        image: `[height, width, 3]` uint8 RGB.
        seed: `[2]` integers.

    Returns:
        `[height, width, 3]` uint8.
    """
    coin_seed, amount_seed = tf.unstack(tf.random.split(seed, 2))
    is_on = tf.random.stateless_uniform([5], coin_seed) < 0.5
    lowest, highest = (-32 / 255, 0.5, 0.5, -0.1), (32 / 255, 1.5, 1.5, 0.1)
    amounts = tf.random.stateless_uniform([4], amount_seed, lowest, highest)
    brightness, contrast, saturation, hue = tf.unstack(tf.where(is_on[:4], amounts, (0.0, 1.0, 1.0, 0.0)))
    contrast_first = is_on[4]

    def scaled(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(pixels * factor, 0.0, 1.0)

    pixels = tf.clip_by_value(tf.cast(image, tf.float32) / 255 + brightness, 0.0, 1.0)
    pixels = scaled(pixels, tf.where(contrast_first, contrast, 1.0))
    pixels = tf.image.adjust_hue(tf.image.adjust_saturation(pixels, saturation), hue)
    pixels = scaled(pixels, tf.where(contrast_first, 1.0, contrast))
    return tf.cast(tf.round(pixels * 255), tf.uint8)


def _rule_of(kind: str) -> NearestPixels:
    return nearest_corners if kind == SEMANTIC else nearest_centers


def _has_one_size(parser: ParserConfig) -> bool:
    return parser.augmentation == "none" or (parser.augmentation == "flip" and len(set(parser.min_sizes_px)) == 1)


def _sized(image: tf.Tensor, shortest_edge_px, max_size_px: int) -> tf.Tensor:
    height_px, width_px = tf.unstack(tf.shape(image)[:2])
    return tf.stack(resized_size(height_px, width_px, shortest_edge_px, max_size_px))


def _random_size(image: tf.Tensor, min_sizes_px: Sequence[int], max_size_px: int, seed: tf.Tensor) -> tf.Tensor:
    choice = _random_integers(0, len(min_sizes_px), seed)
    return _sized(image, tf.constant(min_sizes_px, tf.int32)[choice], max_size_px)


def _random_crop(size_px: tf.Tensor, crop_size_px: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    offset_px = _random_integers(tf.zeros_like(size_px), size_px - crop_size_px + 1, seed)
    return tf.concat([offset_px, crop_size_px], axis=0)


def _uniform(seed: tf.Tensor, lowest: float = 0.0, highest: float = 1.0) -> tf.Tensor:
    return tf.random.stateless_uniform([], seed, lowest, highest)


def _random_integers(lowest, end, seed: tf.Tensor) -> tf.Tensor:
    """Integers in `[lowest, end)`, elementwise; the integer operation of TensorFlow knows scalar bounds only."""
    lowest, end = tf.cast(lowest, tf.float64), tf.cast(end, tf.float64)
    share = tf.random.stateless_uniform(tf.shape(lowest), seed, dtype=tf.float64)
    return tf.cast(tf.floor(lowest + share * (end - lowest)), tf.int32)
