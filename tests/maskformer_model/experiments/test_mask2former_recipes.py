"""The numbers of Mask2Former's official configurations (facebookresearch/Mask2Former 9b0651c, `configs/`)."""

import pytest

from maskformer_model import experiments

FOR_TWO_CORES = ("mask2former_camvid_small", "mask2former_few_photos", "mask2former_small")
NAMES = [name for name in experiments.names() if name.startswith("mask2former_") and name not in FOR_TWO_CORES]

# Data set and task -> classes, steps, shortest and longest test edge, crop, data padded to (0: the batch's largest).
OFFICIAL = {
    "coco_panoptic": (133, 368_750, 800, 1333, None, (1024, 1024)),
    "coco_instance": (80, 368_750, 800, 1333, None, (1024, 1024)),
    "ade20k_semantic": (150, 160_000, 512, 2048, (512, 512), (512, 512)),
    "ade20k_panoptic": (150, 160_000, 640, 2560, (640, 640), (640, 640)),
    "cityscapes_semantic": (19, 90_000, 1024, 2048, (512, 1024), (0, 0)),
    "cityscapes_panoptic": (19, 90_000, 1024, 2048, (512, 1024), (0, 0)),
    "vistas_semantic": (65, 300_000, 2048, 2048, (1024, 1024), (1024, 1024)),
    "vistas_panoptic": (65, 300_000, 2048, 2048, (1024, 1024), (1024, 1024)),
}
EDGE_640 = (150, 160_000, 640, 2560, (640, 640), (640, 640))  # ADE20K semantic with Swin-Base and Swin-Large.


def facts_of(config):
    task, parser = config.task, config.task.train_data.parser
    return (
        task.model.num_classes,
        config.trainer.train_steps,
        task.inference.shortest_edge_px,
        task.inference.max_size_px,
        None if parser.augmentation == "lsj" else parser.crop_size_px,
        parser.output_size,
    )


@pytest.mark.parametrize("name", NAMES)
def test_data_steps_and_sizes_are_the_official_ones(name):
    key = "_".join(name.split("_")[1:3])
    expected = OFFICIAL[key]
    if name.endswith(("ade20k_semantic_swin_base", "ade20k_semantic_swin_large")):
        expected = EDGE_640
    if key.startswith("coco") and name.endswith("large"):
        expected = (expected[0], 737_500, *expected[2:])
    config = experiments.get(name)
    assert facts_of(config) == expected
    assert config.task.kind == key.split("_")[1]
    assert config.task.train_data.parser.keep_emptied_targets == (config.task.kind == "panoptic")
    assert config.task.train_data.global_batch_size == 16


@pytest.mark.parametrize("name", NAMES)
def test_models_losses_and_optimizers_are_the_official_ones(name):
    config = experiments.get(name)
    model, losses, optimizer = config.task.model, config.task.losses, config.trainer.optimizer
    is_large = name.endswith("swin_large") and config.task.kind != "semantic"
    assert (model.num_queries, model.mask_dim) == (200 if is_large else 100, 256)
    decoder, pixel_decoder = model.decoder, model.pixel_decoder
    assert (decoder.hidden_dim, decoder.num_layers, decoder.num_heads, decoder.feedforward_dim) == (256, 9, 8, 2048)
    assert (pixel_decoder.hidden_dim, pixel_decoder.encoder_layers, pixel_decoder.feedforward_dim) == (256, 6, 1024)
    assert (pixel_decoder.num_heads, pixel_decoder.num_points, pixel_decoder.dropout) == (8, 4, 0.0)
    assert (losses.class_weight, losses.class_cost, losses.mask_weight, losses.dice_weight) == (2, 2, 5, 5)
    assert (losses.background_cls_weight, losses.num_points, losses.oversample_ratio) == (0.1, 12_544, 3)
    assert (losses.importance_sample_ratio, losses.pixel_loss, losses.mask_loss) == (0.75, "cross_entropy", "points")
    assert (optimizer.learning_rate, optimizer.weight_decay, optimizer.backbone_multiplier) == (1e-4, 0.05, 0.1)
    assert (optimizer.clip_norm, optimizer.warmup_steps) == (0.01, 0)
    if "coco" in name:
        drops = (655_556, 710_184) if name.endswith("large") else (327_778, 355_092)
        assert (optimizer.schedule, optimizer.drop_steps, optimizer.drop_factor) == ("step", drops, 0.1)
    else:
        assert (optimizer.schedule, optimizer.power) == ("poly", 0.9)


@pytest.mark.parametrize("name", NAMES)
def test_answers_follow_mask2former_s_rules(name):
    config = experiments.get(name).task
    threshold = 0.0 if "vistas" in name else 0.8
    settings = config.inference
    assert (settings.object_mask_threshold, settings.overlap_threshold) == (threshold, 0.8)
    assert (settings.pixel_threshold, settings.size_divisibility) == (0.5, 32)
    assert settings.semantic_fusion_size == ("input" if config.kind == "semantic" else "photo")


def test_large_scale_jitter_is_the_official_one():
    parser = experiments.get("mask2former_coco_panoptic_r50").task.train_data.parser
    assert (parser.augmentation, parser.scale_range, parser.size_divisibility) == ("lsj", (0.1, 2.0), 32)


def test_there_is_an_experiment_for_every_backbone_of_coco_and_cityscapes():
    backbones = ("r50", "r101", "swin_tiny", "swin_small", "swin_base", "swin_large")
    for task in ("coco_panoptic", "coco_instance", "cityscapes_panoptic", "cityscapes_semantic", "ade20k_semantic"):
        assert {f"mask2former_{task}_{backbone}" for backbone in backbones} <= set(NAMES)
    assert len(NAMES) == 5 * 6 + 2 + 4


def test_the_small_one_has_the_data_of_coco_small():
    small, coco_small = (experiments.get(name) for name in ("mask2former_small", "coco_small"))
    assert small.task.train_data == coco_small.task.train_data
    assert small.task.model.backbone == coco_small.task.model.backbone
    assert (small.task.losses.pixel_loss, small.task.inference.pixel_threshold) == ("cross_entropy", 0.5)


def test_the_one_for_camvid_is_camvid_small_with_other_heads():
    ours, camvid_small = (experiments.get(name).task for name in ("mask2former_camvid_small", "camvid_small"))
    assert (ours.kind, ours.train_data, ours.inference) == (
        camvid_small.kind,
        camvid_small.train_data,
        camvid_small.inference,
    )
    assert (ours.model.decoder.type, ours.model.num_queries) == ("masked_attention", camvid_small.model.num_queries)
