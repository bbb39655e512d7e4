"""The files that travel with an exported model, by name; `export` writes them."""

EXTRA_ASSETS_FOLDER = "assets.extra"  # TensorFlow Serving's name for files that travel with a model.
CATEGORIES_FILE = "categories.json"
EXPERIMENT_FILE = "experiment.json"
HISTORY_FILE = "training_history.json"
SERVING_FILE = "serving.json"
DATA_FACTS_FILE = "data_facts.json"
