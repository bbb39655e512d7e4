"""What a Hugging Face `config.json` says of a MaskFormer, a Mask2Former or an EoMT beyond the arrays.

Every setting is known here or refused by name: one that this project does not know could change the answer. A table
says of each group which settings must have one value because the official model has no other, and which do not change
the answer: those of training, of labels, of names, and sizes that the arrays show.
"""

from __future__ import annotations

import json
import pathlib
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from maskformer_model.coco_schema import shown
from maskformer_model.data.normalization import PIXEL_MEAN_RGB, PIXEL_STD_RGB
from maskformer_model.pretrained.eomt import architecture as eomt_architecture

MASKFORMER, MASK2FORMER, EOMT, EOMT_DINOV3 = "maskformer", "mask2former", "eomt", "eomt_dinov3"
_VITS_ALONE = ("dinov2_with_registers", "dinov3_vit")  # They start a backbone, whose settings the network has.
_STAGES = ["stage1", "stage2", "stage3", "stage4"]

# Settings of every Hugging Face config. Most are of text models and say nothing here.
_PROCESSOR_FILE = "preprocessor_config.json"
_OF_EVERY_CONFIG = """
    _name_or_path _commit_hash _attn_implementation _attn_implementation_autoset _attn_implementation_internal
    add_cross_attention architectures attn_implementation bad_words_ids begin_suppress_tokens bos_token_id
    chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dtype
    early_stopping encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task
    forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label is_decoder is_encoder_decoder label2id
    label_ids_to_fuse
    length_penalty max_length min_length model_type no_repeat_ngram_size num_beam_groups num_beams
    num_return_sequences num_labels output_attentions output_hidden_states output_scores pad_token_id prefix
    problem_type remove_invalid_values repetition_penalty return_dict return_dict_in_generate sep_token_id
    suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder tie_word_embeddings
    tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p use_bfloat16 use_cache
"""
# By group: what has no influence on the answer, or is a size that the arrays show; and what must have one value.
_IGNORED = {
    MASKFORMER: """
        backbone_config decoder_config fpn_feature_size mask_feature_size init_std init_xavier_std cross_entropy_weight
        dice_weight mask_weight use_auxiliary_loss no_object_weight output_auxiliary_logits num_attention_heads
        num_hidden_layers backbone use_pretrained_backbone
    """,
    MASK2FORMER: """
        backbone_config feature_size mask_feature_size hidden_dim encoder_feedforward_dim encoder_layers decoder_layers
        num_attention_heads dropout dim_feedforward pre_norm enforce_input_projection ignore_value num_queries
        no_object_weight class_weight mask_weight dice_weight train_num_points oversample_ratio
        importance_sample_ratio init_std init_xavier_std use_auxiliary_loss output_auxiliary_logits num_hidden_layers
        backbone use_pretrained_backbone
    """,
    EOMT: """
        hidden_size num_hidden_layers num_attention_heads image_size patch_size mlp_ratio layerscale_value
        num_upscale_blocks use_swiglu_ffn num_blocks layer_norm_eps initializer_range no_object_weight class_weight
        mask_weight dice_weight train_num_points oversample_ratio importance_sample_ratio num_queries
        num_register_tokens attention_dropout drop_path_rate
    """,
    EOMT_DINOV3: """
        hidden_size num_hidden_layers num_attention_heads image_size patch_size intermediate_size layerscale_value
        num_upscale_blocks num_blocks layer_norm_eps initializer_range no_object_weight class_weight mask_weight
        dice_weight train_num_points oversample_ratio importance_sample_ratio num_queries num_register_tokens
        attention_dropout drop_path_rate use_gated_mlp key_bias rope_parameters rope_theta default_theta
        pos_embed_rescale
    """,
    "swin": """
        image_size num_channels embed_dim depths num_layers num_heads window_size mlp_ratio hidden_dropout_prob
        attention_probs_dropout_prob drop_path_rate initializer_range encoder_stride hidden_size stage_names
        path_norm
    """,
    "resnet": "num_channels embedding_size hidden_sizes depths layer_type stage_names",
    "decoder": """
        use_timm_backbone backbone_config num_channels num_queries d_model encoder_ffn_dim encoder_layers
        encoder_attention_heads decoder_ffn_dim decoder_layers decoder_attention_heads dropout attention_dropout
        activation_dropout init_std init_xavier_std encoder_layerdrop decoder_layerdrop num_hidden_layers
        auxiliary_loss position_embedding_type backbone use_pretrained_backbone dilation class_cost bbox_cost giou_cost
        mask_loss_coefficient dice_loss_coefficient bbox_loss_coefficient giou_loss_coefficient eos_coefficient
        backbone_kwargs hidden_size max_position_embeddings scale_embedding classifier_dropout
    """,
}
_ONLY: dict[str, dict[str, Any]] = {
    MASKFORMER: {},
    MASK2FORMER: {"activation_function": "relu", "common_stride": 4, "feature_strides": [4, 8, 16, 32]},
    EOMT: {"hidden_act": "gelu", "num_channels": 3, "hidden_dropout_prob": 0.0},
    EOMT_DINOV3: {
        "hidden_act": "gelu",
        "num_channels": 3,
        "hidden_dropout_prob": 0.0,
        "query_bias": True,
        "value_bias": True,
        "proj_bias": True,
        "mlp_bias": True,
    },
    "swin": {
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "qkv_bias": True,
        "patch_size": 4,
        "use_absolute_embeddings": False,
        "out_features": _STAGES,
        "out_indices": [1, 2, 3, 4],
    },
    "resnet": {
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
        "out_features": _STAGES,
        "out_indices": [1, 2, 3, 4],
    },
    "decoder": {"activation_function": "relu"},
}
_BACKBONES = {"swin": "swin", "maskformer-swin": "swin", "resnet": "resnet"}  # By Hugging Face's model type.


def require_our_pixels(folder: pathlib.Path) -> None:
    """Checks that a folder's image processor gives the network the pixels that this project gives it.

    Raises:
        ValueError: if it normalises otherwise; every answer of the converted model would be another one.
    """
    path = folder / _PROCESSOR_FILE
    if not path.is_file():
        return
    stated = json.loads(path.read_text(encoding="utf-8"))
    expected: dict[str, Any] = {
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [mean / 255 for mean in PIXEL_MEAN_RGB],
        "image_std": [std / 255 for std in PIXEL_STD_RGB],
    }
    for key, value in expected.items():
        found = stated.get(key)
        if found is not None and (np.shape(found) != np.shape(value) or not np.allclose(found, value, rtol=0.01)):
            raise ValueError(
                f"`{key}` in {path} must be {reprlib.repr(value)}, as this project prepares photos. Received: "
                f"{shown(found)}. Train the network further with such pixels: pass it as `task.init_checkpoint`"
            )


def hugging_face_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested values of `ModelConfig` that the arrays cannot show.

    Args:
        config: The content of `config.json`.

    Raises:
        ValueError: if it asks for something that the official model does not have, or has a setting that is not known.
    """
    kind = config.get("model_type", MASKFORMER)
    if kind in _VITS_ALONE:
        return {}
    if kind in (EOMT, EOMT_DINOV3):
        _require_known(config, kind, "")
        return eomt_architecture.hugging_face_settings(config)
    if kind not in (MASKFORMER, MASK2FORMER):
        known = f"'{MASKFORMER}', '{MASK2FORMER}', '{EOMT}' or '{EOMT_DINOV3}'"
        raise ValueError(f"config.json: `model_type` must be {known}. Received: {kind!r}")
    backbone, decoder = _backbone_of(config), config.get("decoder_config") or {}
    backbone_kind = _kind_of_backbone(backbone)
    _require_known(config, kind, "")
    _require_known(backbone, backbone_kind, "backbone_config.")
    _require_known(decoder, "decoder", "decoder_config.")
    settings: dict[str, Any] = {"backbone": {}}
    if kind == MASK2FORMER:
        settings |= _mask2former_settings(config)
    for name, key in (("num_heads", "decoder_attention_heads"), ("dropout", "dropout")):
        if key in decoder:
            settings[name] = decoder[key]
    if "drop_path_rate" in backbone:
        settings["backbone"]["drop_path_rate"] = backbone["drop_path_rate"]
    return settings


def _backbone_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    backbone = config.get("backbone_config") or {}
    is_timm = isinstance(backbone, Mapping) and backbone.get("model_type") == "timm_backbone"
    if config.get("use_timm_backbone") or is_timm:
        raise ValueError(
            "config.json: the backbone must be Hugging Face's own `swin` or `resnet`. Received one of timm "
            f"(`use_timm_backbone`, {reprlib.repr(config.get('backbone') or backbone)}). Take the model's own "
            "checkpoint, or one with another backbone"
        )
    if not isinstance(backbone, Mapping):
        raise ValueError(f"config.json: `backbone_config` must be settings. Received: {reprlib.repr(backbone)}")
    if not backbone and config.get("backbone"):
        raise ValueError(
            "config.json: `backbone_config` must hold the backbone's settings. Received only a name: "
            f"{reprlib.repr(config['backbone'])}. Save the model again with its `backbone_config`"
        )
    return backbone


def _kind_of_backbone(backbone: Mapping[str, Any]) -> str:
    if not backbone:
        return "swin"  # Nothing is stated, so nothing can be wrong.
    stated = backbone.get("model_type", "swin" if "window_size" in backbone else "resnet")
    if stated not in _BACKBONES:
        raise ValueError(
            f"config.json: `backbone_config.model_type` must be one of {', '.join(_BACKBONES)}. Received: {stated!r}"
        )
    return _BACKBONES[stated]


def _require_known(settings: Any, group: str, path: str) -> None:
    if not isinstance(settings, Mapping):
        raise ValueError(f"config.json: `{path[:-1]}` must be settings. Received: {reprlib.repr(settings)}")
    ignored = {*_OF_EVERY_CONFIG.split(), *_IGNORED[group].split()}
    for name, value in settings.items():
        if name in _ONLY[group]:
            only = _ONLY[group][name]
            if value != only:
                raise ValueError(f"config.json: `{path}{name}` must be {only!r}. Received: {reprlib.repr(value)}")
        elif name not in ignored and not (value is None or value is False or value in ({}, [])):
            raise ValueError(
                f"config.json: `{path}{name}` is not known here and could change the answer, so this model is not "
                f"converted. Received: {reprlib.repr(value)}. If it has no influence, remove it from config.json"
            )


def _mask2former_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    pixel_decoder = {"type": "deformable", "dropout": config.get("dropout", 0.0)}
    decoder = {"type": "masked_attention", "pre_norm": config.get("pre_norm", False)}
    if "num_attention_heads" in config:
        pixel_decoder["num_heads"] = decoder["num_heads"] = config["num_attention_heads"]
    return {"pixel_decoder": pixel_decoder, "decoder": decoder}
