"""An export that computes in half precision: nearly the same answers, of the same form, from the same weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import override
from maskformer_model.data.panoptic_png import decode_panoptic_png
from maskformer_model.export.saved_model import export_saved_model
from tests.maskformer_model.helpers.families import FAMILIES
from tests.maskformer_model.helpers.small_export import CATEGORIES, encoded, photo, small_config, small_network

FAMILY_SETTINGS = [
    pytest.param(""),
    *(pytest.param(settings, marks=pytest.mark.slow, id=name) for name, settings in FAMILIES.items()),
]
PHOTOS = [photo(48, 64), photo(70, 50)]


def answers(directory):
    """Every signature's outputs as numpy arrays."""
    model = tf.saved_model.load(str(directory))
    files = tf.constant([encoded(one) for one in PHOTOS])
    inputs = {name: {"image_bytes": files} for name in ("serving_default", "semantic", "instances")}
    inputs["panoptic_of_one_size"] = {"image_bytes": files[:1]}
    inputs["logits"] = {"images": tf.constant(photo(64, 96)[None])}
    return {
        name: {key: value.numpy() for key, value in model.signatures[name](**given).items()}
        for name, given in inputs.items()
    }


def class_maps(outputs):
    """The category of every pixel, of each photo and signature; 0 is void, and segments of one category are one."""
    maps = []
    for signature in ("serving_default", "panoptic_of_one_size"):
        panoptic = outputs[signature]
        for png, ids, categories in zip(
            panoptic["panoptic_png_bytes"], panoptic["segment_ids"], panoptic["category_ids"], strict=True
        ):
            category_of = dict(zip(ids, categories, strict=True)) | {0: 0}
            maps.append(np.vectorize(category_of.get)(decode_panoptic_png(png)))
    return maps + [tf.io.decode_png(png).numpy() for png in outputs["semantic"]["semantic_png_bytes"]]


@pytest.mark.takes(seconds=100)
@pytest.mark.parametrize("family", FAMILY_SETTINGS)
def test_an_export_in_half_precision_answers_nearly_as_one_in_float32_does(family, tmp_path):
    config = override(small_config(), family.replace("num_queries=8", "num_queries=12"))
    network = small_network(config)
    export_saved_model(network, CATEGORIES, config, str(tmp_path / "float32"))
    half = override(config, "task.inference.mixed_precision_dtype=bfloat16")
    export_saved_model(network, CATEGORIES, half, str(tmp_path / "bfloat16"))

    expected, found = answers(tmp_path / "float32"), answers(tmp_path / "bfloat16")
    for signature, outputs in expected.items():
        assert {name: (value.dtype, value.shape) for name, value in found[signature].items()} == {
            name: (value.dtype, value.shape) for name, value in outputs.items()
        }
    for name, wanted in expected["logits"].items():
        difference = np.abs(found["logits"][name] - wanted).mean() / wanted.std()
        assert 1e-4 < difference < 0.1  # Weights are random, and rounding grows with each layer.
    for found_map, wanted in zip(class_maps(found), class_maps(expected), strict=True):
        assert np.mean(found_map == wanted) > 0.8  # Random queries are nearly equal at many pixels.
    assert network.compute_dtype == "float32"
    facts = json.loads((tmp_path / "bfloat16" / "assets.extra" / "serving.json").read_text("utf-8"))
    assert facts["inference"]["mixed_precision_dtype"] == "bfloat16"
