"""Pixels to network input: the last step of preprocessing, shared by training, evaluation and serving.

It runs inside the model on every Keras backend, so that photos travel as uint8. Decoding and resizing are in
`preprocessing.py`.
"""

from __future__ import annotations

from keras import ops

PIXEL_MEAN_RGB = (123.675, 116.28, 103.53)  # ImageNet's, on 0..255.
PIXEL_STD_RGB = (58.395, 57.12, 57.375)


def normalize(image, valid_size_px=None):
    """Turns pixels into what the network reads: zero mean, unit variance per channel, exact zeros in the padding.

    Runs on every Keras backend.

    Args:
        image: `[batch, height, width, 3]` uint8 or float, RGB in 0..255.
        valid_size_px: `[batch, 2]` integers, height and width of the photo inside the padded image, which begins at
            the top left; `None`: there is no padding.

    Returns:
        `[batch, height, width, 3]` float32.
    """
    image = ops.cast(image, "float32")
    normalized = (image - ops.array(PIXEL_MEAN_RGB, "float32")) / ops.array(PIXEL_STD_RGB, "float32")
    if valid_size_px is None:
        return normalized
    valid_size_px = ops.cast(valid_size_px, "int32")
    _, height, width, _ = ops.shape(image)
    valid_rows = ops.arange(height, dtype="int32")[None, :] < valid_size_px[:, 0:1]
    valid_columns = ops.arange(width, dtype="int32")[None, :] < valid_size_px[:, 1:2]
    valid = ops.logical_and(valid_rows[:, :, None, None], valid_columns[:, None, :, None])
    return ops.where(valid, normalized, ops.zeros_like(normalized))
