"""Decodes photos from untrusted callers; a damaged one is refused with its place in the batch.

TensorFlow's decoders say what is wrong and not with which photo. Here a decoder that fails gives nothing, by way of a
one-element `tf.data` set whose errors are ignored, and a check then fails with the photo's index. Header and size are
checked before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from maskformer_model.data.preprocessing import decode_jpeg, decode_png, image_size, is_jpeg


def decode_photo(image_bytes: tf.Tensor, index: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Decodes one photo of a batch.

    Args:
        image_bytes: scalar string, a whole JPEG or PNG file.
        index: scalar integer, its place in the batch.
        max_pixels: a photo with more pixels is refused before it is decoded.

    Returns:
        `[height, width, 3]` uint8 RGB, at least one pixel, in the orientation in which it is stored.

    Raises:
        tf.errors.InvalidArgumentError: naming the index, if the bytes are not a whole JPEG or PNG, or too large.
    """
    is_a_jpeg = is_jpeg(image_bytes)
    size_px = _attempt(lambda file: image_size(file, is_a_jpeg), image_bytes, [2])
    num_pixels = tf.reduce_prod(tf.cast(size_px, tf.int64))
    first_bytes = _printable(tf.strings.substr(image_bytes, 0, 8))
    checks = [
        _refuse_unless(
            num_pixels > 0, "must be a JPEG or PNG file. Received bytes that begin with: {}", index, first_bytes
        ),
        _refuse_unless(
            num_pixels <= max_pixels,
            f"must have at most {max_pixels} pixels. Received height and width in px: {{}}",
            index,
            size_px,
        ),
    ]
    with tf.control_dependencies(checks):
        image_bytes = tf.identity(image_bytes)
    # What is no JPEG is a PNG: `image_size` said so.
    photo = _attempt(
        lambda file: tf.cond(is_a_jpeg, lambda: decode_jpeg(file), lambda: decode_png(file)),
        image_bytes,
        [None, None, 3],
    )
    rule = "must be a whole JPEG or PNG file. Received one that is cut off or damaged, of {} bytes"
    with tf.control_dependencies([_refuse_unless(tf.size(photo) > 0, rule, index, tf.strings.length(image_bytes))]):
        return tf.identity(photo)


def _refuse_unless(condition: tf.Tensor, rule: str, index: tf.Tensor, received: tf.Tensor) -> tf.Operation:
    message = tf.strings.format("`image_bytes[{}]` " + rule, (index, received))
    return tf.debugging.Assert(condition, [message], summarize=1)


def _printable(text: tf.Tensor) -> tf.Tensor:
    """Bytes as ASCII, with a question mark for each that is none: Python cannot raise an error with other messages."""
    codes = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)
    return tf.strings.unicode_encode(tf.where((codes >= 32) & (codes < 127), codes, ord("?")), "UTF-8")


def _attempt(function: Callable[[tf.Tensor], tf.Tensor], argument: tf.Tensor, shape: list[int | None]) -> tf.Tensor:
    """`function(argument)` of that shape; zeros, without a pixel where the size is open, where the function fails."""
    attempts = tf.data.Dataset.from_tensors(argument).map(lambda value: tf.ensure_shape(function(value), shape))
    nothing = tf.zeros([size or 0 for size in shape], attempts.element_spec.dtype)
    attempts = attempts.ignore_errors().concatenate(tf.data.Dataset.from_tensors(nothing))
    return attempts.take(1).get_single_element()
