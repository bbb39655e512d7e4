"""Turns pixels into network input, the last step of preprocessing in training, evaluation and serving.

It runs inside the model on every Keras backend, so that photos travel as uint8. Decoding and resizing are in
`preprocessing.py`.
"""

from __future__ import annotations

from keras import ops

from maskformer_model.backend.precision import precise_dtype

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
    batch, height, width, channels = ops.shape(image)

    def of_row(values):
        return ops.reshape(ops.broadcast_to(ops.array(values, precise_dtype()), (width, channels)), (width * channels,))

    # A row of a photo as one axis: three channels alone are too few for a processor to compute side by side.
    rows = ops.cast(ops.reshape(image, (batch, height, width * channels)), precise_dtype())
    normalized = (rows - of_row(PIXEL_MEAN_RGB)) / of_row(PIXEL_STD_RGB)
    if valid_size_px is not None:
        valid_size_px = ops.cast(valid_size_px, "int32")
        is_photo_row = ops.arange(height, dtype="int32") < valid_size_px[:, 0:1]
        is_photo_value = ops.arange(width * channels, dtype="int32") < channels * valid_size_px[:, 1:2]
        is_photo = ops.logical_and(is_photo_row[:, :, None], is_photo_value[:, None, :])
        normalized = ops.where(is_photo, normalized, ops.zeros_like(normalized))
    return ops.reshape(normalized, (batch, height, width, channels))
