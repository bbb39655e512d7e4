"""A Hugging Face MaskFormer, Mask2Former or EoMT gives the same logits when it is converted. Needs `parity`."""

import numpy as np
import pytest

from maskformer_model.convert_checkpoint import convert
from maskformer_model.pretrained.initialize import load_converted

torch = pytest.importorskip("torch", reason="the extra `parity` brings torch")
transformers = pytest.importorskip("transformers", reason="the extra `parity` brings transformers")

STAGES = ["stage1", "stage2", "stage3", "stage4"]


def resnet_config(layer_type, depths, widths=(8, 16, 32, 64)):
    return transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=list(widths), depths=depths, layer_type=layer_type, out_features=STAGES
    )


def swin_config():
    return transformers.SwinConfig(
        embed_dim=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4], window_size=4, out_features=STAGES
    )


def random_model(backbone_config):
    decoder = transformers.DetrConfig(
        d_model=32, decoder_layers=2, decoder_ffn_dim=64, decoder_attention_heads=2, num_queries=5
    )
    torch.manual_seed(0)
    model = transformers.MaskFormerForInstanceSegmentation(
        transformers.MaskFormerConfig(
            backbone_config=backbone_config,
            decoder_config=decoder,
            mask_feature_size=32,
            fpn_feature_size=32,
            num_labels=4,
        )
    )
    with torch.no_grad():  # Norms that are neither the identity nor, as they are made there, nearly zero.
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.ndim == 1 and tensor.is_floating_point():
                is_scale = name.endswith(("weight", "running_var"))
                tensor.uniform_(0.5, 1.5) if is_scale else tensor.normal_(0, 0.3)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "make_backbone",
    [
        pytest.param(lambda: resnet_config("bottleneck", [3, 4, 6, 3]), id="ResNet-50"),
        pytest.param(lambda: resnet_config("bottleneck", [1, 2, 1, 1], (8, 16, 24, 40)), id="ResNet of other widths"),
        pytest.param(lambda: resnet_config("basic", [2, 2, 2, 2]), id="ResNet-18"),
        pytest.param(swin_config, id="Swin"),
    ],
)
def test_logits_are_the_same(tmp_path, make_backbone):
    model = random_model(make_backbone())
    model.save_pretrained(tmp_path / "source")
    conversion = convert(str(tmp_path / "source"), str(tmp_path / "converted"), settings_of="ade20k_semantic_swin_tiny")
    config = conversion.config.task.model
    assert (config.num_classes, config.num_queries, config.decoder.num_heads, config.decoder.hidden_dim) == (
        4,
        5,
        2,
        32,
    )
    image = np.random.default_rng(0).normal(size=(2, 90, 77, 3)).astype(np.float32)
    with torch.no_grad():
        expected = model(pixel_values=torch.tensor(image).permute(0, 3, 1, 2))
    predicted = load_converted(str(tmp_path / "converted"))(image)
    for ours, value in (
        ("class_logits", expected.class_queries_logits),
        ("mask_logits", expected.masks_queries_logits),
    ):
        bound = 1e-4 * float(value.abs().max())
        np.testing.assert_allclose(predicted[ours], value.numpy(), atol=bound, rtol=0)


def random_mask2former(backbone_config):
    torch.manual_seed(0)
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone_config,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=64,  # Another width than the pixel decoder's: so there are input projections.
        encoder_feedforward_dim=48,
        dim_feedforward=40,
        num_attention_heads=4,
        encoder_layers=1,
        decoder_layers=3,
        num_queries=5,
        num_labels=4,
    )
    model = transformers.Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ResNet", "Swin"])
def test_logits_of_mask2former_are_the_same(tmp_path, kind):
    model = random_mask2former(swin_config() if kind == "Swin" else resnet_config("bottleneck", [1, 1, 1, 1]))
    model.save_pretrained(tmp_path / "theirs")
    config = convert(str(tmp_path / "theirs"), str(tmp_path / "ours"), settings_of="maskformer_coco_panoptic").config
    assert (config.task.model.pixel_decoder.num_heads, config.task.model.decoder.num_layers) == (4, 2)
    image = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = model(pixel_values=torch.from_numpy(image.transpose(0, 3, 1, 2)))
    ours = load_converted(str(tmp_path / "ours"))(image)
    np.testing.assert_allclose(ours["class_logits"], theirs.class_queries_logits, atol=1e-4)
    np.testing.assert_allclose(ours["mask_logits"], theirs.masks_queries_logits, atol=1e-4)


def random_eomt(kind, mask_probability, **values):
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3, "image_size": 64, "patch_size": 16}
    settings = {**sizes, "num_blocks": 2, "num_queries": 5, "num_labels": 4, **values}
    if kind == "eomt":
        model = transformers.EomtForUniversalSegmentation(transformers.EomtConfig(**settings))
    else:
        config = transformers.EomtDinov3Config(**settings, intermediate_size=96)
        model = transformers.EomtDinov3ForUniversalSegmentation(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.attn_mask_probs.fill_(mask_probability)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mask_probability", "values"),
    [
        ("eomt", 0.0, {}),
        ("eomt", 1.0, {}),  # Never annealed: Hugging Face masks its attention at inference too.
        ("eomt", 0.0, {"use_swiglu_ffn": True}),
        ("eomt_dinov3", 0.0, {}),
        ("eomt_dinov3", 1.0, {}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_of_eomt_are_the_same(tmp_path, kind, mask_probability, values, dtype):
    model = random_eomt(kind, mask_probability, **values).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path / "theirs", max_shard_size="100KB")
    assert len(list((tmp_path / "theirs").glob("model-*.safetensors"))) > 1
    # Loaded again: a model that was turned into bfloat16 keeps frequencies of its rotary positions that were rounded.
    model = type(model).from_pretrained(tmp_path / "theirs", dtype=torch.float32).eval()
    settings_of = "eomt_coco_panoptic_small_640"
    config = convert(str(tmp_path / "theirs"), str(tmp_path / "ours"), settings_of=settings_of).config
    assert (config.task.model.backbone.depth, config.task.model.decoder.num_blocks) == (2, 2)
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = model(pixel_values=torch.from_numpy(image.transpose(0, 3, 1, 2)))
    ours = load_converted(str(tmp_path / "ours"))(image)
    np.testing.assert_allclose(ours["class_logits"], theirs.class_queries_logits, atol=1e-4)
    np.testing.assert_allclose(ours["mask_logits"], theirs.masks_queries_logits, atol=1e-4)
