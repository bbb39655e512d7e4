"""Shapes of the deformable pixel decoder for every choice of encoder stages, and where cells lie."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from maskformer_model.config import DeformableConfig, ModelConfig
from maskformer_model.modeling.layers.precision import at_least_float32
from maskformer_model.modeling.pixel_decoders.deformable import DeformablePixelDecoder, cell_centres

CHANNELS = {"res2": 4, "res3": 6, "res4": 8, "res5": 10}
SIZES = {"res2": (13, 10), "res3": (7, 5), "res4": (4, 3), "res5": (2, 2)}


def run(stages):
    settings = DeformableConfig(hidden_dim=32, encoder_stages=stages, encoder_layers=1, feedforward_dim=16)
    decoder = DeformablePixelDecoder(ModelConfig(pixel_decoder=settings, mask_dim=5))
    decoder.build({stage: (None, None, None, channels) for stage, channels in CHANNELS.items()})
    rng = np.random.default_rng(0)
    features = {
        stage: rng.normal(size=(1, *SIZES[stage], channels)).astype(np.float32) for stage, channels in CHANNELS.items()
    }
    mask_features, maps = decoder(features)
    return decoder, mask_features, [tuple(maps[f"scale_{index}"].shape[1:3]) for index in range(3)]


@pytest.mark.parametrize(
    ("stages", "pyramid"),
    [
        (("res3", "res4", "res5"), ["res2"]),
        (("res4", "res5"), ["res3", "res2"]),
        (("res2", "res3", "res4", "res5"), []),
    ],
)
def test_the_decoder_gets_the_three_coarsest_maps(stages, pyramid):
    decoder, mask_features, sizes = run(stages)
    assert mask_features.shape == (1, 13, 10, 5)
    assert sizes == [SIZES["res5"], SIZES["res4"], SIZES["res3"]]
    assert decoder.pyramid_stages == pyramid


def test_cells_are_named_by_their_centres():
    centres = np.asarray(cell_centres(2, 2))
    assert centres.tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_layers_of_a_half_precision_network_can_stay_in_float32():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with at_least_float32():
            inside = keras.layers.Dense(1)
        outside = keras.layers.Dense(1)
    finally:
        keras.config.set_dtype_policy(before)
    assert (inside.compute_dtype, outside.compute_dtype) == ("float32", "bfloat16")
