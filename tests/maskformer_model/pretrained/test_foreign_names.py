"""Names of every format become the official ones, one example a rule."""

import numpy as np
import pytest

from maskformer_model.pretrained.foreign_names import official_names

ENCODER, LAYER = "model.pixel_level_module.encoder.", "model.transformer_module.decoder.layers.2."
OURS = "sem_seg_head.predictor.transformer.decoder.layers.2."


@pytest.mark.parametrize(
    ("theirs", "official"),
    [
        (f"{ENCODER}embedder.embedder.convolution.weight", "backbone.stem.conv1.weight"),
        (f"{ENCODER}embedder.embedder.normalization.bias", "backbone.stem.conv1.norm.bias"),
        (f"{ENCODER}encoder.stages.1.layers.0.layer.2.convolution.weight", "backbone.res3.0.conv3.weight"),
        (f"{ENCODER}encoder.stages.3.layers.0.shortcut.normalization.weight", "backbone.res5.0.shortcut.norm.weight"),
        (f"{ENCODER}hidden_states_norms.2.weight", "backbone.norm2.weight"),
        (
            f"{ENCODER}model.encoder.layers.1.downsample.reduction.weight",
            "backbone.layers.1.downsample.reduction.weight",
        ),
        (
            f"{ENCODER}model.encoder.layers.0.blocks.1.intermediate.dense.bias",
            "backbone.layers.0.blocks.1.mlp.fc1.bias",
        ),
        ("model.pixel_level_module.decoder.fpn.stem.1.weight", "sem_seg_head.pixel_decoder.layer_4.norm.weight"),
        ("model.pixel_level_module.decoder.fpn.layers.0.proj.0.weight", "sem_seg_head.pixel_decoder.adapter_3.weight"),
        ("model.pixel_level_module.decoder.fpn.layers.2.block.1.bias", "sem_seg_head.pixel_decoder.layer_1.norm.bias"),
        (f"{LAYER}encoder_attn.out_proj.bias", f"{OURS}multihead_attn.out_proj.bias"),
        (f"{LAYER}encoder_attn_layer_norm.weight", f"{OURS}norm2.weight"),
        (f"{LAYER}fc2.weight", f"{OURS}linear2.weight"),
        ("mask_embedder.1.0.weight", "sem_seg_head.predictor.mask_embed.layers.1.weight"),
        ("class_predictor.bias", "sem_seg_head.predictor.class_embed.bias"),
    ],
)
def test_hugging_face(theirs, official):
    marker = "model.pixel_level_module.decoder.mask_projection.weight"
    found = official_names({theirs: np.array([1]), marker: np.array([2])})
    assert set(found) == {official, "sem_seg_head.pixel_decoder.mask_features.weight"}


@pytest.mark.parametrize("prefix", ["module.", "model.", "module._orig_mod.", "model.module."])
def test_the_class_weights_of_the_loss_are_no_weights_whatever_wraps_them(prefix):
    name = "sem_seg_head.predictor.query_embed.weight"
    found = official_names({f"{prefix}{name}": np.array([1]), f"{prefix}criterion.empty_weight": np.array([2])})
    assert set(found) == {name}


def test_query_key_and_value_of_hugging_face_are_one_official_array():
    arrays = {f"{LAYER}self_attn.{part}_proj.bias": np.array([n]) for n, part in enumerate("qkv")}
    marker = {"model.pixel_level_module.decoder.mask_projection.bias": np.array([9])}
    found = official_names(arrays | marker)
    np.testing.assert_array_equal(found[f"{OURS}self_attn.in_proj_bias"], [0, 1, 2])
    del arrays[f"{LAYER}self_attn.k_proj.bias"]
    with pytest.raises(ValueError, match="must hold query, key and value"):
        official_names(arrays | marker)


@pytest.mark.parametrize(
    ("theirs", "official"),
    [
        ("layer1.0.conv1.weight", "backbone.res2.0.conv1.weight"),
        ("layer4.2.bn3.running_mean", "backbone.res5.2.conv3.norm.running_mean"),
        ("layer2.0.downsample.1.bias", "backbone.res3.0.shortcut.norm.bias"),
        ("bn1.weight", "backbone.stem.conv1.norm.weight"),
    ],
)
def test_torchvision(theirs, official):
    found = official_names({theirs: np.array([1]), "layer1.0.conv1.weight": np.array([1]), "fc.bias": np.array([1])})
    assert set(found) == {official, "backbone.res2.0.conv1.weight"}


def test_counters_and_what_the_architecture_implies_are_dropped():
    names = ("bn1.num_batches_tracked", "res2.0.conv1.weight", "stem.fc.weight")
    assert set(official_names({name: np.array([1]) for name in names})) == {"backbone.res2.0.conv1.weight"}


def test_unknown_names_are_listed_and_names_that_meet_are_refused():
    with pytest.raises(ValueError, match=r"Received: a\.weight, \.\.\."):
        official_names({"a.weight": np.array([1])})
    twice = ("sem_seg_head.pixel_decoder.layer_1.weight", "sem_seg_head.layer_1.weight")
    with pytest.raises(ValueError, match=r"stand for `sem_seg_head\.pixel_decoder\.layer_1\.weight`"):
        official_names({name: np.array([1]) for name in twice})
