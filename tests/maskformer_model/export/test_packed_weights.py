"""An exported model answers alike where TensorFlow is told that its weights never change."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.maskformer_model.helpers import small_export

# A process of its own for each setting: TensorFlow reads it once. Nothing of ours is imported there.
ANSWER = """
import pathlib, sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
answers = {}
for number, path in enumerate(sys.argv[3:]):
    for name in ("serving_default", "semantic", "instances", "panoptic_of_one_size"):
        outputs = model.signatures[name](image_bytes=tf.constant([pathlib.Path(path).read_bytes()]))
        answers |= {f"{number}/{name}/{key}": value.numpy() for key, value in outputs.items()}
np.savez(sys.argv[2], **{key: value.astype("S") if value.dtype == object else value for key, value in answers.items()})
"""


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    small_export.export_small(folder)
    assert json.loads((folder / "assets.extra" / "serving.json").read_text())["constant_filters"] is True
    return folder


def test_the_second_photo_is_not_answered_with_what_was_kept_of_the_first(model_dir, tmp_path):
    photos = []
    for number, (height, width) in enumerate([(64, 96), (64, 96), (90, 60), (64, 96)]):
        photos.append(tmp_path / f"{number}.png")
        photos[-1].write_bytes(small_export.encoded(small_export.photo(height, width, seed=number)))
    answers = {}
    for setting in ("0", "1"):
        output = tmp_path / f"{setting}.npz"
        environment = {"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": setting}
        command = [sys.executable, "-c", ANSWER, str(model_dir), str(output), *map(str, photos)]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True)
        with np.load(output) as file:
            answers[setting] = dict(file)
    assert len({answers["0"][f"{number}/serving_default/panoptic_png_bytes"].tobytes() for number in range(4)}) == 4
    for name, value in answers["0"].items():
        np.testing.assert_array_equal(answers["1"][name], value, err_msg=name)
