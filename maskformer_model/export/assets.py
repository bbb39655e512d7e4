"""The files that travel with an exported model, by name; `export` writes them."""

import os
import re
from collections.abc import Mapping
from typing import Any

# In `serving.json`: no convolution or dense layer of the graph takes its weights from a photo.
CONSTANT_FILTERS = "constant_filters"
# In `serving.json`: "winograd" where a convolution of the graph is done by that method, else "direct".
CONVOLUTION_METHOD, DIRECT, WINOGRAD = "convolution_method", "direct", "winograd"

_SCORE = re.compile(r"^(pq|sq|rq|ap|ap50|ap75|mean_iou|frequency_weighted_iou|pixel_accuracy)(_|$)")


def is_score(name: str) -> bool:
    """Whether a quantity of the training history is one of the evaluation split; all others are of training."""
    return bool(_SCORE.match(name))


def prepare_process(serving_facts: Mapping[str, Any]) -> None:
    """Sets up a process that answers photos with one model and does nothing else; before its first call.

    Weights stay packed (`keep_packed_weights`), and a GPU does not round to TensorFloat-32 where convolutions
    do not bear it (`keep_float32`).
    """
    keep_packed_weights(serving_facts)
    keep_float32(serving_facts)


def keep_float32(serving_facts: Mapping[str, Any]) -> None:
    """Keeps TensorFlow in this process from rounding to TensorFloat-32, if the model needs that (`winograd`)."""
    if serving_facts.get(CONVOLUTION_METHOD) == WINOGRAD:
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)


def keep_packed_weights(serving_facts: Mapping[str, Any]) -> None:
    """Lets TensorFlow keep the form in which oneDNN reads a model's weights, instead of making it anew at every call.

    For a process that answers photos with one model and does nothing else, before its first call: whatever changes
    weights there afterwards, a training above all, would go unnoticed. A model that does not promise
    `CONSTANT_FILTERS` is left alone, because a filter that is computed from the first photo would be kept as well.
    """
    if serving_facts.get(CONSTANT_FILTERS):
        os.environ.setdefault("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "1")
