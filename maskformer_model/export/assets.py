"""The files that travel with an exported model, by name; `saved_model` writes them."""

import os
from collections.abc import Mapping
from typing import Any

# In `serving.json`: no convolution or dense layer of the graph takes its weights from a photo.
CONSTANT_FILTERS = "constant_filters"


def keep_packed_weights(serving_facts: Mapping[str, Any]) -> None:
    """Lets TensorFlow keep the form in which oneDNN reads a model's weights, instead of making it again at every call.

    For a process that answers photos with one model and does nothing else, before its first call: whatever changes
    weights there afterwards, a training above all, would go unnoticed. A model that does not promise
    `CONSTANT_FILTERS` is left alone, because a filter that is computed from the first photo would be kept as well.
    """
    if serving_facts.get(CONSTANT_FILTERS):
        os.environ.setdefault("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "1")
