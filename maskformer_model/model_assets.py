"""The files that travel with an exported model, by name; `export` writes them."""

import re

EXTRA_ASSETS_FOLDER = "assets.extra"  # TensorFlow Serving's name for files that travel with a model.
CATEGORIES_FILE = "categories.json"
EXPERIMENT_FILE = "experiment.json"
HISTORY_FILE = "training_history.json"
SERVING_FILE = "serving.json"
DATA_FACTS_FILE = "data_facts.json"

_SCORE = re.compile(r"^(pq|sq|rq|ap|ap50|ap75|mean_iou|frequency_weighted_iou|pixel_accuracy)(_|$)")


def is_score(name: str) -> bool:
    """Whether a quantity of the training history is one of the evaluation split; all others are of training."""
    return bool(_SCORE.match(name))
