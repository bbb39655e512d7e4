"""Backbones that start networks of another family, and ViTs whose last blocks belong to the decoder."""

import dataclasses
import logging

import keras
import numpy as np
import pytest

from maskformer_model.config import (
    DeformableConfig,
    EomtConfig,
    ExperimentConfig,
    FpnConfig,
    MaskedAttentionConfig,
    ModelConfig,
    NoPixelDecoderConfig,
    PlacedQueriesConfig,
    ResNetConfig,
    TransformerDecoderConfig,
    VitConfig,
)
from maskformer_model.pretrained import initialize
from maskformer_model.pretrained.maskformer_names import official_weights
from maskformer_model.pretrained.tables.weight_table import CheckpointMismatchError

RESNET = ResNetConfig(stage_blocks=(1, 1, 1, 1), stem_channels=8, res2_channels=16, bottleneck_channels=4)
VIT = VitConfig(embed_dim=8, depth=2, num_heads=2, mlp_dim=12, num_registers=2, image_size_px=(32, 32))
SMALL = {"hidden_dim": 32, "num_heads": 2, "feedforward_dim": 16}
MASKFORMER = ModelConfig(
    backbone=RESNET,
    pixel_decoder=FpnConfig(hidden_dim=32),
    decoder=TransformerDecoderConfig(num_layers=1, **SMALL),
    num_classes=3,
    num_queries=4,
    mask_dim=8,
)
MASK2FORMER = dataclasses.replace(
    MASKFORMER,
    pixel_decoder=DeformableConfig(encoder_layers=1, **SMALL),
    decoder=MaskedAttentionConfig(num_layers=1, **SMALL),
)
EOMT = ModelConfig(
    backbone=VIT,
    pixel_decoder=NoPixelDecoderConfig(),
    decoder=EomtConfig(num_blocks=2),
    num_classes=3,
    num_queries=4,
    mask_dim=8,
)


def built(config, seed):
    keras.utils.set_random_seed(seed)
    return initialize.build_network(config)


def saved(network, folder):
    arrays = {weight.name: weight.read() for weight in official_weights(network)}
    np.savez(folder / "model.npz", **arrays)
    return str(folder / "model.npz"), arrays


@pytest.mark.parametrize("is_converted", [True, False])
def test_a_maskformer_s_backbone_starts_a_mask2former_and_the_log_says_so(tmp_path, caplog, is_converted):
    source, target = built(MASKFORMER, 0), built(MASK2FORMER, 1)
    path, _ = saved(source, tmp_path)
    if is_converted:
        path = str(tmp_path / "converted")
        task = dataclasses.replace(ExperimentConfig().task, model=MASKFORMER)
        initialize.save_converted(source, dataclasses.replace(ExperimentConfig(), task=task), path)
    before = [np.array(weight) for weight in target.predictor.weights]
    with caplog.at_level(logging.WARNING):
        initialize.initialize(target, path, "all", remakes_class_head=True)
    for ours, theirs in zip(target.backbone.weights, source.backbone.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for weight, value in zip(target.predictor.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert "is of another family" in caplog.text and "its backbone is taken over" in caplog.text


def test_a_conversion_does_not_take_a_part_for_the_whole(tmp_path):
    path, _ = saved(built(MASKFORMER, 0), tmp_path)
    with pytest.raises(CheckpointMismatchError, match="Missing: "):
        initialize.initialize(built(MASK2FORMER, 1), path, "all")


def test_a_vit_of_timm_starts_the_blocks_of_backbone_and_decoder(tmp_path):
    source, target = built(EOMT, 0), built(EOMT, 1)
    _, arrays = saved(source, tmp_path)
    prefix = "encoder.backbone."
    timm = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    np.savez(tmp_path / "timm.npz", **timm, **{"head.weight": np.zeros((5, 8)), "head.bias": np.zeros(5)})
    queries = np.array(target.predictor.queries)
    initialize.initialize(target, str(tmp_path / "timm.npz"))
    for part in ("backbone", "predictor"):
        ours, theirs = (getattr(one, part) for one in (target, source))
        ours, theirs = (one.backbone if part == "predictor" else one for one in (ours, theirs))
        for weight, expected in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(weight, expected)
    np.testing.assert_array_equal(target.predictor.queries, queries)


def test_other_classes_start_anew_and_the_rest_is_taken_over(tmp_path, caplog):
    source, target = built(EOMT, 0), built(dataclasses.replace(EOMT, num_classes=5), 1)
    path, _ = saved(source, tmp_path)
    head = np.array(target.predictor.class_head.kernel)
    initialize.initialize(target, path, "all", remakes_class_head=True)
    np.testing.assert_array_equal(target.predictor.queries, source.predictor.queries)
    np.testing.assert_array_equal(target.predictor.class_head.kernel, head)
    assert "The checkpoint has 3 classes and the data 5" in caplog.text


def test_a_network_of_ours_starts_the_last_blocks_too():
    source, target = built(EOMT, 0), built(EOMT, 1)
    initialize._copy_weights(target, source, "backbone", False)
    np.testing.assert_array_equal(
        target.predictor.backbone.blocks[1].linear1.kernel, source.predictor.backbone.blocks[1].linear1.kernel
    )
    assert (np.array(target.predictor.queries) != np.array(source.predictor.queries)).any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dinov2", "dinov3"])
def test_a_hugging_face_dino_gives_the_tokens_that_it_gives_there(tmp_path, kind):
    torch = pytest.importorskip("torch", reason="the extra `parity` brings torch")
    transformers = pytest.importorskip("transformers", reason="the extra `parity` brings transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    if kind == "dinov2":
        config = transformers.Dinov2WithRegistersConfig(**sizes, num_register_tokens=2)
        model = transformers.Dinov2WithRegistersModel(config)
    else:
        config = transformers.DINOv3ViTConfig(**sizes, num_register_tokens=2, intermediate_size=24)
        model = transformers.DINOv3ViTModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval().save_pretrained(tmp_path)
    is_dinov3 = kind == "dinov3"
    backbone = VitConfig(
        embed_dim=16,
        depth=1,
        num_heads=2,
        mlp_dim=24 if is_dinov3 else 64,
        num_registers=2,
        image_size_px=(32, 32),
        position_encoding="rotary" if is_dinov3 else "learned",
        key_bias=not is_dinov3,
        norm_epsilon=config.layer_norm_eps,
    )
    network = built(dataclasses.replace(EOMT, backbone=backbone, mask_dim=16), 0)
    initialize.initialize(network, str(tmp_path))
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(image.transpose(0, 3, 1, 2))).last_hidden_state.numpy()
    features, rest = network.backbone(image), network.predictor.backbone
    tokens = np.concatenate([features["prefix_tokens"], np.reshape(features["patches"], (1, 4, 16))], axis=1)
    np.testing.assert_allclose(rest.norm(rest(tokens, rest.rotation((2, 2)))), expected, atol=1e-4)


def test_no_official_checkpoint_fits_placed_queries_and_their_backbone_is_named_instead():
    decoder = PlacedQueriesConfig(num_layers=0, num_learned_queries=1, **SMALL)
    with pytest.raises(ValueError, match="init_checkpoint_modules=backbone.*placed_queries"):
        official_weights(built(dataclasses.replace(MASKFORMER, decoder=decoder), seed=0))
