"""A model whose files name a setting that was removed since is loaded, served and scored as before."""

from __future__ import annotations

import base64
import json
import shutil

import numpy as np
import pytest

from components.panoptic_predictor.serving_model import ServingModel
from maskformer_model.data.panoptic_png import decode_panoptic_png
from maskformer_model.export.keras_network import load_network
from maskformer_model.prediction.exported_model import ExportedMaskFormer
from tests.maskformer_model.helpers.small_export import encoded, photo, small_config
from tests.maskformer_model.serve.running_server import RunningServer

PHOTO = encoded(photo(50, 80))


@pytest.fixture(scope="module")
def earlier(exported, tmp_path_factory):
    """The small export with the files of a version that chose a method of convolution; the graph is its own."""
    directory = tmp_path_factory.mktemp("earlier") / "1600000000"
    shutil.copytree(exported[0], directory)
    for name in ("serving.json", "experiment.json"):
        path = directory / "assets.extra" / name
        values = json.loads(path.read_text())
        inference = values["inference"] if name == "serving.json" else values["task"]["inference"]
        inference["convolution_method"] = "auto"
        if name == "serving.json":
            values["convolution_method"] = "direct"
        path.write_text(json.dumps(values))
    return directory


@pytest.fixture(scope="module")
def expected(exported):
    """`[50, 80]`, what the export itself answers."""
    return ExportedMaskFormer.from_directory(exported[0]).predict(PHOTO).segment_ids


def test_it_predicts(earlier, expected):
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(ExportedMaskFormer.from_directory(earlier).predict(PHOTO).segment_ids, expected)


def test_it_is_scored(earlier, expected):
    [result] = ServingModel(str(earlier)).predict_task([PHOTO])
    np.testing.assert_array_equal(decode_panoptic_png(result.panoptic_png), expected)


def test_it_is_served(earlier, expected):
    server = RunningServer(earlier.parent)
    try:
        answer = server.wait_until_ready().predict(PHOTO)
    finally:
        server.stop()
    [prediction] = answer.json()["predictions"]
    ids = decode_panoptic_png(base64.b64decode(prediction["panoptic_png_bytes"]["b64"]))
    np.testing.assert_array_equal(ids, expected)


def test_its_network_is_rebuilt(earlier, exported, tmp_path):
    exported[1].save_weights(tmp_path / "model.weights.h5")
    network, config, _ = load_network(earlier, tmp_path / "model.weights.h5")
    assert config == small_config()
    for ours, theirs in zip(network.get_weights(), exported[1].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
