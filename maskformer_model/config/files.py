"""Names of the files that data sets, training runs and exported models consist of. Imports nothing.

Users have these files and scripts that read them, so the names stay.
"""

# Beside Examples, in a training run and in an exported model.
CATEGORIES_FILE = "categories.json"
# Beside Examples.
KEPT_ASIDE_FILE = "kept_aside.jsonl"
NOTICES_FILE = "notices.jsonl"
RECORD_DIGESTS_FILE = "record_digests.json"
# In a training run; the experiment and the curves also travel with an exported model.
EXPERIMENT_FILE = "experiment.json"
HISTORY_FILE = "training_history.json"
WEIGHTS_FILE = "model.weights.h5"
# In a training run and in an exported model, if a tracker was told of the run.
TRACKED_RUN_FILE = "tracked_run.json"
# In an exported model.
EXTRA_ASSETS_FOLDER = "assets.extra"  # TensorFlow Serving's name for files that travel with a model.
SERVING_FILE = "serving.json"
DATA_FACTS_FILE = "data_facts.json"
