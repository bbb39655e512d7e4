"""Every setting of an experiment has an effect: one row a setting, and no setting without a row.

A row says from where to where the setting is changed, and what must differ afterwards. What takes a whole training to
show is shown by the test that is named instead.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.backend import distribution, precision
from maskformer_model.config import ExperimentConfig, override
from maskformer_model.config.variant import Variant, kinds_of
from maskformer_model.data import input_pipeline, preprocessing
from maskformer_model.export.signatures import ServingSignatures
from maskformer_model.inference import postprocessing, test_time_augmentation
from maskformer_model.losses import criterion
from maskformer_model.modeling.maskformer import MaskFormer
from maskformer_model.modeling.registry import build_backbone
from maskformer_model.pretrained.initialize import save_converted
from maskformer_model.training import loop
from maskformer_model.training.learning_rate import make_schedule
from maskformer_model.training.optimizer import make_optimizer
from tests.maskformer_model.data.test_input_pipeline import _record, _write
from tests.maskformer_model.helpers.sees_all import SeesAll
from tests.maskformer_model.helpers.small_export import encoded
from tests.maskformer_model.training.test_evaluator import CATEGORIES

MODEL, BACKBONE, PARSER = "task.model.", "task.model.backbone.", "task.train_data.parser."
PIXEL_DECODER, DECODER = "task.model.pixel_decoder.", "task.model.decoder."
TINY = (
    f"{MODEL}num_classes=3,{MODEL}num_queries=4,{MODEL}hidden_dim=32,{MODEL}pixel_decoder_dim=32,{MODEL}mask_dim=8,"
    f"{MODEL}num_heads=2,{MODEL}feedforward_dim=16,{MODEL}fpn_encoder_layers=1,{MODEL}num_decoder_layers=2,"
    f"{MODEL}dropout=0,{BACKBONE}stage_blocks=[1,1,1,1],{BACKBONE}stem_channels=8,{BACKBONE}res2_channels=16,"
    f"{BACKBONE}bottleneck_channels=4,task.train_data.global_batch_size=3,task.train_data.shuffle_buffer_size=12,"
    f"{PARSER}output_size=[16,16],{PARSER}min_sizes_px=[8],{PARSER}max_size_px=16,{PARSER}max_targets=3,"
    "trainer.train_steps=100,trainer.optimizer.clip_norm=0,task.inference.shortest_edge_px=40,"
    "task.inference.max_size_px=64,task.inference.overlap_threshold=0.5"
)
SWIN = (
    f"{BACKBONE}type=swin,{BACKBONE}embed_dim=8,{BACKBONE}depths=[1,1,1,1],{BACKBONE}num_heads=[1,1,1,1],"
    f"{BACKBONE}window_size=2,{BACKBONE}drop_path_rate=0"
)
CONVNEXT = f"{BACKBONE}type=convnext,{BACKBONE}dims=[4,4,4,4],{BACKBONE}depths=[1,1,1,1]"
WIDE = f"{BACKBONE}stem_channels=32,{BACKBONE}res2_channels=128,{BACKBONE}bottleneck_channels=32"  # For 32 groups.
VIT = (
    f"{MODEL}mask_dim=8,{BACKBONE}type=vit,{BACKBONE}embed_dim=8,{BACKBONE}depth=1,{BACKBONE}num_heads=2,"
    f"{BACKBONE}mlp_dim=16,{BACKBONE}layer_scale=1,{BACKBONE}image_size_px=[64,96],{PIXEL_DECODER}type=none,"
    f"{DECODER}type=eomt,{DECODER}num_blocks=1,task.inference.size_divisibility=16"
)
ROTARY = f"{VIT},{BACKBONE}position_encoding=rotary,{BACKBONE}num_heads=1"
ANNEALED = f"{VIT},{DECODER}mask_annealing_starts=[2],{DECODER}mask_annealing_ends=[8]"
TWO_STAGES = "trainer.optimizer.schedule=two_stage_poly,trainer.optimizer.warmup_steps=5"
MASK2FORMER = f"{PIXEL_DECODER}type=deformable,{DECODER}type=masked_attention"
PLACED = f"{DECODER}type=placed_queries,{DECODER}num_learned_queries=2"
DETR = f"{PARSER}augmentation=detr,{PARSER}crop_size_px=[3,6],{PARSER}crop_min_sizes_px=[8]"
STEP = "trainer.optimizer.drop_steps=[3],trainer.optimizer.schedule=step"
WARM = "trainer.optimizer.warmup_steps=5,trainer.optimizer.warmup_factor=0.1"
TWO_VIEWS = "task.inference.augmented_edges_px=[20,40]"

IMAGE = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
PHOTO = np.zeros((40, 64, 3), np.uint8)
PHOTO[:, :16] = 255


def backbone_weights(config):
    with keras.StatelessScope(initialize_variables=False):  # Shapes are enough.
        backbone = build_backbone(config.task.model.backbone)
        backbone.build((None, None, None, 3))
    return [(weight.path.rpartition("/")[2], tuple(weight.shape)) for weight in backbone.weights]


def network_weights(config):
    with keras.StatelessScope(initialize_variables=False):
        network = MaskFormer(config.task.model)
        network.build()
    return [tuple(weight.shape) for weight in network.weights]


def answer(config, *, is_training=False):
    keras.utils.set_random_seed(config.runtime.seed)
    outputs = MaskFormer(config.task.model)(IMAGE, training=is_training)
    return [outputs["class_logits"].numpy(), *(layer["class_logits"].numpy() for layer in outputs["aux_outputs"])]


def training_answer(config):
    return answer(config, is_training=True)


def trained_pooling(config):
    """A training answer with the same weights in any case; a new pooled head is 0, and its dropout changes nothing."""
    network = MaskFormer(config.task.model)
    network.build()
    rng = np.random.default_rng(0)
    for weight in network.trainable_weights:
        weight.assign(rng.normal(0, 0.1, weight.shape))
    return network(IMAGE, training=True)["class_logits"].numpy()


def loss_terms(config):
    rng = np.random.default_rng(0)
    outputs = {
        "class_logits": tf.constant(rng.normal(size=(1, 4, 4)), tf.float32),
        "mask_logits": tf.constant(rng.normal(size=(1, 4, 4, 4)), tf.float32),
        "aux_outputs": [],
    }
    segment_map = np.repeat([[[1] * 8 + [2] * 8]], 16, axis=1).astype(np.uint8)
    seed = keras.random.SeedGenerator(0)
    classes = tf.constant([[0, 2]])
    terms = criterion.maskformer_losses(
        outputs, tf.constant(segment_map), classes, config.task.losses, seed_generator=seed
    )
    return {name: float(value) for name, value in terms.items()}


@functools.cache
def records(folder):
    """Twelve records of four segments: a thing, a crowd, stuff, and a thing of one pixel that no small map shows."""
    ids = np.zeros((16, 32), np.int32)
    ids[:, :12], ids[:, 12:22], ids[:, 22:], ids[7, 3] = 1, 2, 3, 4
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 32, 3), dtype=np.uint8)
    found = [_record(ids, noise[n], source_id=str(n), classes=[0, 1, 2, 0], crowds=(2,), stuff=(3,)) for n in range(12)]
    return _write(f"{folder}/records", found)


def dataset(config, folder):
    return input_pipeline.make_dataset(
        records(folder),
        config.task.train_data,
        training=True,
        seed=config.runtime.seed,
        kind=config.task.kind,
        max_targets=config.task.model.num_queries,
    )


def batches(config, folder):
    return [value for batch in dataset(config, folder).take(3).as_numpy_iterator() for value in batch.values()]


def batch_shapes(config, folder):
    return [tuple(spec.shape) for spec in dataset(config, folder).element_spec.values()]


def trims_padding(config, folder):
    return loop.build_for_training(config).trims_padding


def lasts_without_its_files(config, folder):
    copy = f"{folder}/copy-{config.task.train_data.cache}"
    shutil.copy(records(folder), copy)
    data = input_pipeline.make_dataset(copy, config.task.train_data, training=True)
    iterator = iter(data)
    for _ in range(8):  # Two epochs: the first fills the cache.
        next(iterator)
    os.remove(copy)
    try:
        for _ in range(24):
            next(iterator)
    except tf.errors.NotFoundError:
        return False
    return True


class Watching(SeesAll):
    """Notes the size of every image that it sees."""

    def __init__(self):
        self.sizes_px = []

    def propose(self, image):
        self.sizes_px.append(tuple(image.shape))
        return super().propose(image)


def seen_sizes(config):
    network = Watching()
    settings = config.task.inference
    if settings.augmented_edges_px:
        test_time_augmentation.augmented_panoptic(network, tf.constant(PHOTO), [True, False], settings)
    else:
        ServingSignatures(network, CATEGORIES, config).inference.panoptic(tf.constant(PHOTO), 0.5, 0.5)
    return network.sizes_px


def num_segments(config):
    return int(ServingSignatures(SeesAll(), CATEGORIES, config).serving_default([encoded(PHOTO)])["num_segments"][0])


def class_map(config):
    """Noise at twice the network's size, whose borders are where the two orders differ."""
    photo = tf.constant(np.random.default_rng(0).integers(0, 256, (80, 128, 3), dtype=np.uint8))
    return ServingSignatures(SeesAll(), CATEGORIES, config).inference.semantic(photo).numpy().tolist()


def num_merged(config):
    """Two queries on four pixels: the first takes half of the second's mask."""
    settings = config.task.inference
    class_logits = tf.constant([[9.0, 0.0, 0.0], [0.0, 8.9, 0.0]])
    mask_logits = tf.constant([[[6.0, 6.0, -6.0, -6.0]], [[5.0, 5.0, 5.0, 5.0]]])
    thresholds = (settings.object_mask_threshold, settings.overlap_threshold)
    return int(postprocessing.panoptic_inference(class_logits, mask_logits, [True, True], *thresholds)["num_segments"])


def num_painted(config):
    """One query whose mask covers two of four pixels, and which owns all of them."""
    class_logits, mask_logits = tf.constant([[9.0, 0.0, 0.0]]), tf.constant([[[6.0, 2.0, -6.0, -6.0]]])
    answer = postprocessing.panoptic_inference(
        class_logits, mask_logits, [True, True], 0.5, 0.0, config.task.inference.pixel_threshold
    )
    return int(tf.reduce_sum(answer["segment_map"]))


def num_instance_rows(config):
    answers = ServingSignatures(SeesAll(), CATEGORIES, config).instances(tf.constant([encoded(PHOTO)]))
    return answers["scores"].shape[1]


def is_photo_taken(config):
    try:
        num_segments(config)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def resized(config):
    return tuple(preprocessing.resize_for_inference(tf.constant(PHOTO), config.task.inference).shape)


def rates(config):
    schedule = make_schedule(config.trainer.optimizer, config.trainer.train_steps)
    return [float(schedule(step)) for step in (0, 2, 4, 50)]


def updated(config):
    with keras.name_scope("backbone"):
        variables = [keras.Variable([1.0, 2.0], name="kernel")]
    variables.append(keras.Variable([1.0, 2.0], name="kernel"))
    optimizer = make_optimizer(config.trainer.optimizer, config.trainer.optimizer.learning_rate)
    for gradient in (1.0, 3.0):
        optimizer.apply([keras.ops.full((2,), gradient)] * 2, variables)
    optimizer.finalize_variable_values(variables)
    return [variable.numpy() for variable in variables]


def updated_blocks(config):
    """Two blocks of a ViT and their scales, after three updates."""
    variables = []
    for number in range(2):
        with keras.name_scope("backbone"), keras.name_scope(f"vit_block_{number}"):
            variables += [keras.Variable([1.0, 2.0], name=name) for name in ("kernel", "gamma")]
    optimizer = make_optimizer(config.trainer.optimizer, make_schedule(config.trainer.optimizer, 100))
    optimizer.build(variables)
    optimizer.iterations.assign(20)
    for gradient in (1.0, 3.0):
        optimizer.apply([keras.ops.full((2,), gradient)] * 4, variables)
    return [variable.numpy() for variable in variables]


def mask_probabilities(config):
    network = MaskFormer(config.task.model)
    network.build()
    found = []
    for step in (3, 5, 7):
        network.predictor.after_step(step)
        found.append(network.predictor.mask_probability.numpy())
    return found


def losses_of_too_many_targets(config):
    """Two queries and three targets: one target stays without."""
    rng = np.random.default_rng(0)
    outputs = {
        "class_logits": tf.constant(rng.normal(size=(1, 2, 4)), tf.float32),
        "mask_logits": tf.constant(rng.normal(size=(1, 2, 4, 4)), tf.float32),
        "aux_outputs": [],
    }
    segment_map = np.repeat([[[1] * 4 + [2] * 8 + [3] * 4]], 16, axis=1).astype(np.uint8)
    terms = criterion.maskformer_losses(outputs, tf.constant(segment_map), tf.constant([[0, 2, 1]]), config.task.losses)
    return {name: float(value) for name, value in terms.items()}


def sparse_batches(config, folder):
    """Photos whose only segments lie in a corner, so that most crops show none."""
    ids = np.zeros((16, 32), np.int32)
    ids[:2, :2] = 1
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 32, 3), dtype=np.uint8)
    found = [_record(ids, noise[n], source_id=str(n), classes=[0]) for n in range(12)]
    path = _write(f"{folder}/sparse", found)
    data = input_pipeline.make_dataset(path, config.task.train_data, training=True, kind=config.task.kind)
    return [value for batch in data.take(1).as_numpy_iterator() for value in batch.values()]


def compute_dtype(config):
    with precision.dtype_policy(config.runtime.mixed_precision_dtype):
        return keras.layers.Dense(1).compute_dtype


def strategy(config):
    return distribution.chosen_strategy(config.runtime.distribution_strategy, "", 2, {})


def trained_model(config, folder):
    """Returns the arguments of `fit`, what it trains and starts from; `FOLDER` is a converted checkpoint."""
    path = f"{folder}/converted"
    if not os.path.exists(path):
        keras.utils.set_random_seed(1)
        network = MaskFormer(config.task.model)
        network.build()
        save_converted(network, config, path)
    if config.task.init_checkpoint:
        config = dataclasses.replace(config, task=dataclasses.replace(config.task, init_checkpoint=path))
    keras.utils.set_random_seed(0)
    model = loop.build_for_training(config)
    kernels = (model.network.backbone.res3[0].convolutions[0].kernel, model.network.predictor.class_head.kernel)
    execution = (model.jit_compile, model.steps_per_execution, model.accumulation_steps)
    return [execution, len(model.trainable_weights), *(kernel.numpy() for kernel in kernels)]


# Setting -> (where it is changed, from, to, what differs).
EFFECTS = {
    f"{MODEL}num_classes": ("", "3", "4", network_weights),
    f"{MODEL}num_queries": ("", "4", "5", network_weights),
    f"{MODEL}mask_dim": ("", "8", "9", network_weights),
    f"{PIXEL_DECODER}type": ("", "transformer_fpn", "fpn", network_weights),
    f"{PIXEL_DECODER}hidden_dim": ("", "32", "64", network_weights),
    f"{PIXEL_DECODER}encoder_layers": ("", "1", "2", network_weights),
    f"{PIXEL_DECODER}num_heads": ("", "2", "4", answer),
    f"{PIXEL_DECODER}feedforward_dim": ("", "16", "17", network_weights),
    f"{PIXEL_DECODER}dropout": ("", "0", "0.5", training_answer),
    f"{PIXEL_DECODER}pre_norm": ("", "false", "true", network_weights),
    f"{PIXEL_DECODER}num_points": (MASK2FORMER, "4", "2", network_weights),
    f"{PIXEL_DECODER}encoder_stages": (MASK2FORMER, "[res3,res4,res5]", "[res4,res5]", network_weights),
    f"{DECODER}hidden_dim": ("", "32", "64", network_weights),
    f"{DECODER}num_layers": ("", "2", "1", network_weights),
    f"{DECODER}encoder_layers": ("", "0", "1", network_weights),
    f"{DECODER}num_heads": ("", "2", "4", answer),
    f"{DECODER}feedforward_dim": ("", "16", "17", network_weights),
    f"{DECODER}dropout": ("", "0", "0.5", training_answer),
    f"{DECODER}pre_norm": ("", "false", "true", network_weights),
    f"{DECODER}deep_supervision": ("", "true", "false", answer),
    f"{DECODER}enforce_input_projection": ("", "false", "true", network_weights),
    f"{DECODER}input_feature": ("", "auto", "res2", network_weights),
    f"{DECODER}pooled_features": (MASK2FORMER, "[]", "[res4]", network_weights),
    f"{DECODER}pooled_dropout": (f"{MASK2FORMER},{DECODER}pooled_features=[res4]", "0", "0.5", trained_pooling),
    f"{BACKBONE}type": ("", "resnet", "efficientnet_lite0", backbone_weights),
    f"{BACKBONE}depth": (f"{BACKBONE}stage_blocks=[]", "18", "34", backbone_weights),
    f"{BACKBONE}stem_type": ("", "basic", "deeplab", backbone_weights),
    f"{BACKBONE}stem_channels": ("", "8", "4", backbone_weights),
    f"{BACKBONE}res2_channels": ("", "16", "32", backbone_weights),
    f"{BACKBONE}bottleneck_channels": ("", "4", "8", backbone_weights),
    f"{BACKBONE}res5_multi_grid": (f"{BACKBONE}stage_blocks=[1,1,1,2]", "[1,1]", "[1,2]", answer),
    f"{BACKBONE}stage_blocks": ("", "[1,1,1,1]", "[1,2,1,1]", backbone_weights),
    f"{BACKBONE}stage_channels": ("", "[16,32,64,128]", "[16,32,64,64]", backbone_weights),
    f"{BACKBONE}norm": (WIDE, "frozen_batch", "group", backbone_weights),
    f"{BACKBONE}embed_dim": (SWIN, "8", "16", backbone_weights),
    f"{BACKBONE}depths": (SWIN, "[1,1,1,1]", "[1,2,1,1]", backbone_weights),
    f"{BACKBONE}num_heads": (SWIN, "[1,1,1,1]", "[1,2,1,1]", backbone_weights),
    f"{BACKBONE}window_size": (SWIN, "2", "3", backbone_weights),
    f"{BACKBONE}dims": (CONVNEXT, "[4,4,4,4]", "[4,4,4,8]", backbone_weights),
    f"{BACKBONE}mlp_ratio": (SWIN, "4", "2", backbone_weights),
    f"{BACKBONE}patch_size": (VIT, "16", "8", backbone_weights),
    f"{BACKBONE}mlp_dim": (VIT, "16", "17", backbone_weights),
    f"{BACKBONE}mlp_kind": (VIT, "gelu", "swiglu", backbone_weights),
    f"{BACKBONE}num_registers": (VIT, "4", "0", backbone_weights),
    f"{BACKBONE}position_encoding": (VIT, "learned", "rotary", backbone_weights),
    f"{BACKBONE}image_size_px": (VIT, "[64,96]", "[64,64]", backbone_weights),
    f"{BACKBONE}rope_base": (ROTARY, "100", "10", answer),
    f"{BACKBONE}rope_rescale": (ROTARY, "1", "2", training_answer),
    f"{BACKBONE}key_bias": (VIT, "true", "false", backbone_weights),
    f"{BACKBONE}norm_epsilon": (VIT, "0.000001", "0.1", answer),
    f"{BACKBONE}layer_scale": (VIT, "1", "0.1", answer),
    f"{DECODER}num_learned_queries": (PLACED, "2", "1", network_weights),
    f"{DECODER}num_blocks": (VIT, "1", "2", network_weights),
    f"{DECODER}masks_at_inference": (VIT, "false", "true", answer),
    f"{DECODER}mask_annealing_starts": (ANNEALED, "[2]", "[4]", mask_probabilities),
    f"{DECODER}mask_annealing_ends": (ANNEALED, "[8]", "[6]", mask_probabilities),
    f"{DECODER}mask_annealing_power": (ANNEALED, "0.9", "2", mask_probabilities),
    f"{BACKBONE}drop_path_rate": (f"{SWIN},{BACKBONE}depths=[2,2,2,2]", "0", "0.9", training_answer),
    "task.losses.class_weight": ("", "1", "2", loss_terms),
    "task.losses.mask_weight": ("", "20", "5", loss_terms),
    "task.losses.dice_weight": ("", "1", "5", loss_terms),
    "task.losses.background_cls_weight": ("", "0.1", "0.4", loss_terms),
    "task.losses.class_cost": ("task.losses.mask_weight=0,task.losses.dice_weight=0.001", "0", "1", loss_terms),
    "task.losses.pixel_loss": ("task.losses.mask_loss=points", "focal", "cross_entropy", loss_terms),
    "task.losses.oversample_ratio": ("task.losses.mask_loss=points", "3", "2", loss_terms),
    "task.losses.importance_sample_ratio": ("task.losses.mask_loss=points", "0.75", "0.5", loss_terms),
    "task.losses.mask_loss": ("", "exact", "points", loss_terms),
    "task.losses.mask_normalizer": ("", "targets", "pairs", losses_of_too_many_targets),
    "task.losses.num_points": ("task.losses.mask_loss=points", "32", "64", loss_terms),
    "runtime.seed": ("", "0", "1", answer),
    "runtime.mixed_precision_dtype": ("", "float32", "bfloat16", compute_dtype),
    "runtime.distribution_strategy": ("", "one_device", "auto", strategy),
    "task.kind": ("", "panoptic", "instance", batches),
    "task.train_data.global_batch_size": ("", "3", "4", batch_shapes),
    "task.train_data.drop_remainder": ("", "true", "false", batch_shapes),
    "task.train_data.shuffle_buffer_size": ("", "1", "12", batches),
    "task.train_data.aspect_ratio_group_size": ("task.train_data.global_batch_size=4", "0", "2", trims_padding),
    "task.train_data.cache": ("", "false", "true", lasts_without_its_files),
    f"{PARSER}augmentation": ("", "none", "flip", batches),
    f"{PARSER}output_size": ("", "[16,16]", "[16,20]", batch_shapes),
    f"{PARSER}size_divisibility": (f"{PARSER}output_size=[0,0]", "0", "16", batches),
    f"{PARSER}min_sizes_px": ("", "[8]", "[12]", batches),
    f"{PARSER}max_size_px": ("", "16", "12", batches),
    f"{PARSER}crop_size_px": (f"{PARSER}augmentation=semantic,{PARSER}crop_size_px=[7,7]", "[6,6]", "[8,8]", batches),
    f"{PARSER}crop_min_sizes_px": (DETR, "[8]", "[16]", batches),
    f"{PARSER}scale_range": (f"{PARSER}augmentation=lsj", "[1.0,1.0]", "[0.5,0.5]", batches),
    f"{PARSER}jitters_color": (f"{PARSER}augmentation=lsj", "false", "true", batches),
    f"{PARSER}redraws_empty_crops": (
        f"{PARSER}augmentation=lsj,{PARSER}scale_range=[8.0,8.0],task.train_data.global_batch_size=12",
        "false",
        "true",
        sparse_batches,
    ),
    f"{PARSER}padding_pixel": (f"{PARSER}augmentation=lsj,{PARSER}scale_range=[0.5,0.5]", "128", "0", batches),
    f"{PARSER}max_targets": ("", "3", "2", batches),
    f"{PARSER}keep_crowd": ("", "false", "true", batches),
    f"{PARSER}keep_emptied_targets": (f"{PARSER}max_targets=4,{PARSER}min_sizes_px=[3]", "false", "true", batches),
    "task.inference.object_mask_threshold": ("", "0.8", "0.99999", num_segments),
    "task.inference.overlap_threshold": ("", "0.4", "0.6", num_merged),
    "task.inference.pixel_threshold": ("", "0", "0.9", num_painted),
    "task.inference.shortest_edge_px": ("", "40", "20", resized),
    "task.inference.max_size_px": ("", "64", "48", resized),
    "task.inference.size_divisibility": (TWO_VIEWS, "0", "128", seen_sizes),
    "task.inference.pads_with_black": ("task.inference.size_divisibility=128", "false", "true", class_map),
    "task.inference.window_px": ("", "0", "32", class_map),
    "task.inference.semantic_fusion_size": ("", "photo", "input", class_map),
    "task.inference.max_instances": ("", "3", "2", num_instance_rows),
    "task.inference.max_pixels": ("", "2560", "2559", is_photo_taken),
    "task.inference.augmented_edges_px": ("", "[20]", "[20,40]", seen_sizes),
    "task.inference.augmented_max_size_px": (TWO_VIEWS, "64", "48", seen_sizes),
    "task.inference.augmented_flip": (TWO_VIEWS, "true", "false", seen_sizes),
    "task.init_checkpoint": ("", "", "FOLDER", trained_model),
    "task.init_checkpoint_modules": ("task.init_checkpoint=FOLDER", "backbone", "all", trained_model),
    "task.freeze_backbone": ("", "false", "true", trained_model),
    "trainer.accumulation_steps": ("", "1", "2", trained_model),
    "trainer.jit_compile": ("", "false", "true", trained_model),
    "trainer.steps_per_execution": ("", "1", "2", trained_model),
    "trainer.train_steps": ("trainer.optimizer.schedule=poly", "100", "200", rates),
    "trainer.optimizer.learning_rate": ("", "0.001", "0.01", updated),
    "trainer.optimizer.backbone_multiplier": ("", "0.1", "1", updated),
    "trainer.optimizer.layer_decay": ("", "1", "0.5", updated_blocks),
    "trainer.optimizer.undecayed_blocks": ("trainer.optimizer.layer_decay=0.5", "0", "2", updated_blocks),
    "trainer.optimizer.decays_everything": ("trainer.optimizer.weight_decay=0.5", "false", "true", updated_blocks),
    "trainer.optimizer.weight_decay": ("", "0", "0.5", updated),
    "trainer.optimizer.clip_norm": ("", "0", "0.01", updated),
    "trainer.optimizer.ema_momentum": ("", "0", "0.9", updated),
    "trainer.optimizer.schedule": ("", "constant", "poly", rates),
    "trainer.optimizer.drop_steps": (STEP, "[3]", "[30]", rates),
    "trainer.optimizer.drop_factor": (STEP, "0.1", "0.5", rates),
    "trainer.optimizer.power": ("trainer.optimizer.schedule=poly", "0.9", "2", rates),
    "trainer.optimizer.warmup_steps": (WARM, "5", "3", rates),
    "trainer.optimizer.backbone_warmup_steps": (TWO_STAGES, "0", "40", updated_blocks),
    "trainer.optimizer.warmup_factor": (WARM, "0.1", "0.5", rates),
}
LOOP = "training/test_loop.py::"
MLFLOW = "training/trackers/test_mlflow_tracker.py::"
SHOWN_ELSEWHERE = {
    "task.model.decoder.type": "config/test_experiment.py::test_a_kind_that_is_not_known_is_refused",
    "runtime.deterministic": (
        "training/test_distributed_training.py::test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits"
    ),
    "task.inference.mixed_precision_dtype": (
        "export/test_half_precision.py::test_an_export_in_half_precision_answers_nearly_as_one_in_float32_does"
    ),
    "runtime.tracker": f"{MLFLOW}test_a_training_is_reported_with_curves_settings_lineage_and_files",
    "runtime.tracker_uri": f"{MLFLOW}test_a_training_is_reported_with_curves_settings_lineage_and_files",
    "runtime.tracker_project": f"{MLFLOW}test_a_training_is_reported_with_curves_settings_lineage_and_files",
    "task.train_data.input_path": "test_train.py::test_scripts_train_and_score_and_say_that_a_tpu_is_missing",
    "task.validation_data.input_path": "test_train.py::test_scripts_train_and_score_and_say_that_a_tpu_is_missing",
    "trainer.steps_per_loop": f"{LOOP}test_curves_have_every_loss_term_and_the_score_at_its_intervals",
    "trainer.validation_interval": f"{LOOP}test_curves_have_every_loss_term_and_the_score_at_its_intervals",
    "trainer.checkpoint_interval": f"{LOOP}test_the_last_checkpoints_and_the_best_one_are_kept",
    "trainer.max_to_keep": f"{LOOP}test_the_last_checkpoints_and_the_best_one_are_kept",
    "trainer.early_stopping_patience": f"{LOOP}test_a_training_without_a_better_score_stops_early_and_stays_stopped",
    "trainer.restore_best_weights": f"{LOOP}test_the_best_weights_are_the_result_where_they_are_asked_for",
    "trainer.max_skipped_steps": (
        f"{LOOP}test_steps_without_a_finite_gradient_change_nothing_and_end_the_run_with_their_images"
    ),
}


def leaves(config, path=""):
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Variant):
            for kind in kinds_of(value).values():
                yield from leaves(kind(), f"{path}{field.name}.")
        elif dataclasses.is_dataclass(value):
            yield from leaves(value, f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}"


def is_not_read(setting):
    """Photos are scored at their own size, one by one: `validation_data` says only where they are (see its docs)."""
    return setting.startswith("task.validation_data.") and not setting.endswith(".input_path")


def test_every_setting_has_a_row():
    settings = {setting for setting in leaves(ExperimentConfig()) if not is_not_read(setting)}
    assert settings == set(EFFECTS) | set(SHOWN_ELSEWHERE)
    assert not set(EFFECTS) & set(SHOWN_ELSEWHERE)


@pytest.mark.parametrize("setting", SHOWN_ELSEWHERE)
def test_a_test_that_is_named_exists(project_dir, setting):
    file, _, name = SHOWN_ELSEWHERE[setting].partition("::")
    tree = ast.parse((project_dir / "tests" / "maskformer_model" / file).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("options"))


@functools.cache
def observed(observe, config, folder):
    needs_folder = "folder" in inspect.signature(observe).parameters
    return flat(observe(config, folder) if needs_folder else observe(config))


def flat(value):
    """Comparable: arrays as bytes, containers as tuples."""
    if isinstance(value, np.ndarray):
        return (value.shape, value.tobytes())
    if isinstance(value, list | tuple):
        return tuple(flat(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return value


@pytest.mark.parametrize("setting", EFFECTS)
def test_a_setting_has_an_effect(setting, folder):
    around, before, after, observe = EFFECTS[setting]
    base = override(override(ExperimentConfig(), TINY), around)
    configs = [override(base, f"{setting}={value}") for value in (before, after)]
    assert observed(observe, configs[0], folder) != observed(observe, configs[1], folder)
