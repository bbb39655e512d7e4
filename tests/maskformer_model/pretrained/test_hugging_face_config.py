"""Tests of `maskformer_model.pretrained.hugging_face_config`."""

import pytest

from maskformer_model.pretrained.hugging_face_config import hugging_face_settings

SWIN = {
    "model_type": "swin",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "path_norm": True,
    "drop_path_rate": 0.3,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
MASKFORMER = {
    "model_type": "maskformer",
    "backbone_config": SWIN,
    "decoder_config": {"decoder_attention_heads": 8, "dropout": 0.1, "use_timm_backbone": True},
    "use_timm_backbone": False,
    "_name_or_path": "x",
    "torch_dtype": "float32",
}
MASK2FORMER = {"model_type": "mask2former", "backbone_config": SWIN, "num_attention_heads": 4, "pre_norm": False}


def with_setting(config, path, value):
    *groups, name = path.split(".")
    if not groups:
        return {**config, name: value}
    return {**config, groups[0]: {**config[groups[0]], name: value}}


def test_what_arrays_cannot_show_is_taken_over():
    assert hugging_face_settings(MASKFORMER) == {"backbone": {"drop_path_rate": 0.3}, "num_heads": 8, "dropout": 0.1}
    assert hugging_face_settings(MASK2FORMER)["decoder"] == {
        "type": "masked_attention",
        "pre_norm": False,
        "num_heads": 4,
    }


@pytest.mark.parametrize("config", [MASKFORMER, MASK2FORMER])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("backbone_config.hidden_act", "relu"),
        ("backbone_config.layer_norm_eps", 1e-12),
        ("backbone_config.use_absolute_embeddings", True),
        ("backbone_config.out_features", ["stage2", "stage3", "stage4"]),
        ("backbone_config.window_shift", "none"),
        ("backbone_config.model_type", "dinat"),
        ("query_scale", 2.0),
        ("query_scale", 0),
    ],
)
def test_a_setting_that_changes_the_answer_is_refused_by_name(config, path, value):
    with pytest.raises(ValueError, match=rf"config\.json: `{path}`"):
        hugging_face_settings(with_setting(config, path, value))


@pytest.mark.parametrize("value", [None, False, {}, []])
def test_an_unknown_setting_that_asks_for_nothing_passes(value):
    assert hugging_face_settings(with_setting(MASKFORMER, "new_thing", value)) == hugging_face_settings(MASKFORMER)


@pytest.mark.parametrize(
    "backbone",
    [
        {"use_timm_backbone": True, "backbone": "resnet50", "backbone_config": None},
        {"backbone_config": {"model_type": "timm_backbone", "backbone": "resnet50"}},
    ],
)
@pytest.mark.parametrize("config", [MASKFORMER, MASK2FORMER])
def test_a_backbone_of_timm_is_refused_by_name(config, backbone):
    with pytest.raises(ValueError, match=r"own `swin` or `resnet`. Received one of timm .*resnet50"):
        hugging_face_settings({**config, **backbone})


def test_groups_that_are_no_settings_are_refused():
    with pytest.raises(ValueError, match="`backbone_config` must be settings"):
        hugging_face_settings({"backbone_config": [1]})
    with pytest.raises(ValueError, match="`decoder_config` must be settings"):
        hugging_face_settings({"decoder_config": "resnet50"})
    with pytest.raises(ValueError, match="must hold the backbone's settings. Received only a name"):
        hugging_face_settings({"backbone": "microsoft/swin-tiny"})
    with pytest.raises(ValueError, match="`model_type`"):
        hugging_face_settings({"model_type": "oneformer"})


def test_every_setting_that_the_library_writes_is_known():
    transformers = pytest.importorskip("transformers", reason="the extra `parity` brings transformers")
    stages = ["stage1", "stage2", "stage3", "stage4"]
    for kind in (transformers.MaskFormerConfig, transformers.Mask2FormerConfig):
        for backbone in (transformers.SwinConfig(out_features=stages), transformers.ResNetConfig(out_features=stages)):
            hugging_face_settings(kind(backbone_config=backbone).to_dict())
