"""A batch cut over two replicas trains as the whole batch does on one: losses, clip, update and average of weights.

`test_distributed_training` does so with the whole network; here one replica has an image without targets.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.backend.replicas import sum_over_replicas

# In a process of its own, because logical devices have to be made before TensorFlow starts.
SCRIPT = """
import json, sys
import numpy as np, tensorflow as tf, keras
from maskformer_model.losses.criterion import maskformer_losses
from maskformer_model.training.optimizer import AdamW

QUERIES, CLASSES = 6, 3


class Drawer(keras.Model):
    def __init__(self):
        super().__init__()
        self.masks = keras.layers.Conv2D(QUERIES, 4, strides=4)
        self.classes = keras.layers.Dense(QUERIES * (CLASSES + 1))

    def call(self, image):
        pooled = keras.ops.mean(image, axis=(1, 2))
        class_logits = keras.ops.reshape(self.classes(pooled), (-1, QUERIES, CLASSES + 1))
        mask_logits = keras.ops.transpose(self.masks(image), (0, 3, 1, 2))
        return {"class_logits": class_logits, "mask_logits": mask_logits, "aux_outputs": []}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return sum(maskformer_losses(y_pred, y["segment_map"], y["segment_classes"]).values())


def train(strategy):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    image = rng.random((4, 16, 16, 3)).astype(np.float32)
    segment_map = np.repeat(rng.integers(0, 4, (4, 4, 16)), 4, axis=1).astype(np.uint8)
    # Three targets, none, one and two: the halves of the batch have neither the same number nor the same weights.
    segment_classes = np.array([[0, 1, 2], [-1, -1, -1], [2, -1, -1], [0, 0, -1]], np.int32)
    data = tf.data.Dataset.from_tensors((image, {"segment_map": segment_map, "segment_classes": segment_classes}))
    with strategy.scope():
        model = Drawer()
        model(image[:1])
        model.compile(optimizer=AdamW(1e-2, clip_norm=0.01, use_ema=True, ema_momentum=0.5))
    history = model.fit(data.unbatch().batch(4, drop_remainder=True).repeat(), steps_per_epoch=1, epochs=4, verbose=0)
    return history.history["loss"], [weight.tolist() for weight in model.get_weights()]


cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
one = train(tf.distribute.get_strategy())
two = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
json.dump([one, two], open(sys.argv[1], "w"))
"""


def test_one_replica_gets_back_what_it_has():
    tensors = [tf.constant(3.0), tf.constant([1, 2])]
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    for summed in (sum_over_replicas(tensors), strategy.run(sum_over_replicas, (tensors,))):
        assert float(summed[0]) == 3.0
        np.testing.assert_array_equal(summed[1], [1, 2])


def test_outside_of_a_replica_nothing_is_added():
    tensors = [tf.constant(3.0)]
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():  # The scope is not a replica.
        assert sum_over_replicas(tensors) is tensors


@pytest.mark.slow
def test_two_replicas_train_as_one_does(tmp_path, project_dir):
    output = tmp_path / "both.json"
    command = [sys.executable, "-c", SCRIPT, str(output)]
    result = subprocess.run(command, cwd=project_dir, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    (one_losses, one_weights), (two_losses, two_weights) = json.loads(output.read_text())
    assert two_losses == pytest.approx(one_losses, rel=1e-5)
    assert one_losses[-1] < one_losses[0]
    for one, two in zip(one_weights, two_weights, strict=True):
        assert flat(two) == pytest.approx(flat(one), rel=1e-4, abs=1e-6)


def flat(nested):
    return [number for part in nested for number in flat(part)] if isinstance(nested, list) else [nested]
