"""The transformer decoder alone: what it attends to, and what it predicts after each layer."""

import keras
import numpy as np
import pytest

from maskformer_model.modeling.decoders.transformer import TransformerPredictor
from tests.maskformer_model.helpers.flat_model import model_config

SMALL = model_config(
    num_classes=3, num_queries=5, hidden_dim=16, mask_dim=8, num_heads=2, feedforward_dim=16, num_decoder_layers=3
)
CHANNELS = {"res4": 6, "res5": 16, "pixel_embedding": 8}


def features():
    random = np.random.default_rng(0)
    shapes = {"res4": (1, 4, 6, 6), "res5": (1, 2, 3, 16), "pixel_embedding": (1, 16, 24, 8)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def decoder(channels=CHANNELS, **changes):
    keras.utils.set_random_seed(0)
    layer = TransformerPredictor(model_config(SMALL, **changes), channels)
    layer.build()
    return layer


def test_every_layer_predicts_classes_and_masks():
    layer = decoder()
    predictions = layer(features())
    assert len(predictions) == layer.num_aux_outputs + 1 == 3
    assert {tuple(prediction["class_logits"].shape) for prediction in predictions} == {(1, 5, 4)}
    assert {tuple(prediction["mask_logits"].shape) for prediction in predictions} == {(1, 5, 16, 24)}


def test_without_deep_supervision_there_is_one_prediction():
    layer = decoder(deep_supervision=False)
    assert (layer.num_aux_outputs, len(layer(features()))) == (0, 1)


def test_the_last_queries_are_those_of_the_last_prediction():
    layer, given = decoder(), features()
    class_logits, embeddings = layer.last_queries(given)
    np.testing.assert_allclose(class_logits, layer(given)[-1]["class_logits"], atol=1e-6)
    assert tuple(embeddings.shape) == (1, 5, 8)


@pytest.mark.parametrize(
    ("channels", "feature", "source"),
    [
        (CHANNELS, "auto", "res5"),
        (CHANNELS | {"transformer_encoder": 16}, "auto", "transformer_encoder"),
        (CHANNELS, "res4", "res4"),
        (CHANNELS, "pixel_embedding", "pixel_embedding"),
    ],
)
def test_it_attends_to_the_feature_that_is_asked_for(channels, feature, source):
    layer = decoder(channels, transformer_in_feature=feature)
    assert (layer.source, layer.reads_mask_features) == (source, source == "pixel_embedding")


def test_a_width_that_fits_needs_no_projection_unless_it_is_enforced():
    assert decoder().input_projection is None
    assert decoder(enforce_input_projection=True).input_projection is not None
    assert decoder(transformer_in_feature="res4").input_projection is not None
