"""The numbers of EoMT's official configurations (tue-mps/eomt 7bd19dd, `configs/`)."""

import pytest

from maskformer_model import experiments

NAMES = [name for name in experiments.names() if name.startswith("eomt_") and name != "eomt_small"]
# ViT -> width, blocks, heads, blocks with queries.
SIZES = {"small": (384, 12, 6, 3), "base": (768, 12, 12, 3), "large": (1024, 24, 16, 4), "giant": (1536, 40, 24, 5)}
# Data set and task -> classes, queries, epochs of so many steps, scales, windows.
DATA = {
    "coco_panoptic": (133, 200, 12 * 7391, (0.1, 2.0), False),
    "coco_instance": (80, 200, 12 * 7391, (0.1, 2.0), False),
    "ade20k_panoptic": (150, 200, 31 * 1263, (0.1, 2.0), False),
    "ade20k_semantic": (150, 100, 31 * 1263, (0.5, 2.0), True),
    "cityscapes_semantic": (19, 100, 107 * 185, (0.5, 2.0), True),
}
ANNEALING = {
    "eomt_coco_panoptic_small_640": ((14_782, 36_955, 59_128), (29_564, 51_737, 73_910)),
    "eomt_coco_panoptic_base_640_2x": ((29_564, 73_910, 118_256), (59_128, 103_474, 147_820)),
    "eomt_coco_panoptic_large_1280": ((14_782, 29_564, 44_346, 59_128), (29_564, 44_346, 59_128, 73_910)),
    "eomt_coco_panoptic_small_640_2x_dinov3": ((0, 73_910, 118_256), (3000, 103_474, 147_820)),
    "eomt_coco_panoptic_large_640_dinov3": ((0, 29_564, 44_346, 59_128), (3000, 44_346, 59_128, 73_910)),
    "eomt_coco_instance_large_640_dinov3": ((14_782, 29_564, 44_346, 59_128), (29_564, 44_346, 59_128, 73_910)),
    "eomt_ade20k_semantic_large_512_dinov3": ((0, 6520, 9780, 13_040), (3000, 9780, 13_040, 16_300)),
    "eomt_cityscapes_semantic_large_1024": ((3317, 6634, 9951, 13_268), (6634, 9951, 13_268, 16_585)),
}


@pytest.mark.parametrize("name", NAMES)
def test_networks_and_data_are_the_official_ones(name):
    _, data_set, kind, size, edge, *others = name.split("_")
    config = experiments.get(name)
    task, model = config.task, config.task.model
    width, blocks, heads, with_queries = SIZES[size]
    assert (model.backbone.embed_dim, model.backbone.num_heads, model.mask_dim) == (width, heads, width)
    assert (model.backbone.depth + model.decoder.num_blocks, model.decoder.num_blocks) == (blocks, with_queries)
    assert model.backbone.image_size_px == (int(edge), int(edge)) == task.train_data.parser.output_size
    classes, queries, steps, scales, windows = DATA[f"{data_set}_{kind}"]
    if "2x" in others:
        steps *= 2
    if name == "eomt_ade20k_semantic_large_512_dinov3":
        steps = 16 * 1263
    parser = task.train_data.parser
    assert (task.kind, model.num_classes, model.num_queries) == (kind, classes, queries)
    assert (config.trainer.train_steps, parser.scale_range, task.inference.window_px) == (
        steps,
        scales,
        windows * int(edge),
    )
    assert parser.jitters_color == (data_set != "coco")
    assert (parser.redraws_empty_crops, parser.padding_pixel, parser.keep_emptied_targets) == (True, 0, False)
    assert (task.inference.shortest_edge_px, task.inference.size_divisibility) == (int(edge), int(edge))
    assert (task.inference.object_mask_threshold, task.inference.pixel_threshold) == (0.8, 0.5)


@pytest.mark.parametrize("name", NAMES)
def test_optimizers_are_the_official_ones(name):
    config = experiments.get(name)
    optimizer, is_dinov3 = config.trainer.optimizer, name.endswith("dinov3")
    warmups = (optimizer.warmup_steps, optimizer.backbone_warmup_steps)
    assert (optimizer.learning_rate, warmups) == ((2e-4, (2000, 3000)) if is_dinov3 else (1e-4, (500, 1000)))
    assert (optimizer.weight_decay, optimizer.decays_everything, optimizer.clip_norm) == (0.05, True, 0.01)
    is_flat = name == "eomt_ade20k_semantic_large_512_dinov3"
    assert (optimizer.layer_decay, optimizer.backbone_multiplier) == (1.0 if is_flat else 0.8, 1.0)
    assert optimizer.undecayed_blocks == (config.task.model.decoder.num_blocks if is_dinov3 else 0)
    losses = config.task.losses
    assert (losses.mask_weight, losses.dice_weight, losses.class_weight, losses.mask_normalizer) == (5, 5, 2, "pairs")


@pytest.mark.parametrize("name", ANNEALING)
def test_masks_are_given_up_at_the_official_steps(name):
    decoder = experiments.get(name).task.model.decoder
    assert (decoder.mask_annealing_starts, decoder.mask_annealing_ends) == ANNEALING[name]


def test_there_is_an_experiment_for_every_official_file():
    assert len(NAMES) == 16 + 7
    assert sum(name.endswith("dinov3") for name in NAMES) == 7
