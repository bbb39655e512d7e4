"""The numbers of the reference's configurations, as its files and its paper give them."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model import experiments
from maskformer_model.config import ModelConfig
from maskformer_model.experiments import recipes
from maskformer_model.inference.photo_inference import PhotoInference
from tests.maskformer_model.helpers.sees_all import SeesAll


@pytest.mark.parametrize(
    ("backbone", "embed_dim", "blocks", "window_px"),
    [("TINY", 96, 12, 7), ("SMALL", 96, 24, 7), ("BASE", 128, 24, 12), ("LARGE", 192, 24, 12)],
)
def test_swins_have_heads_of_32_channels(backbone, embed_dim, blocks, window_px):
    config = getattr(recipes, f"SWIN_{backbone}")
    assert (config.embed_dim, sum(config.depths), config.window_size) == (embed_dim, blocks, window_px)
    assert [embed_dim * 2**stage // heads for stage, heads in enumerate(config.num_heads)] == [32] * 4
    assert config.drop_path_rate == 0.3


def test_r101c_has_a_deeplab_stem_and_a_multi_grid():
    assert (recipes.RESNET_101C.stem_type, recipes.RESNET_101C.stem_channels) == ("deeplab", 128)
    assert recipes.RESNET_101C.res5_multi_grid == (1, 2, 4)


def test_models_are_the_paper_s():
    for model in (recipes.transformer_fpn_model(recipes.RESNET_50, 133), recipes.fpn_model(recipes.SWIN_TINY, 150)):
        assert (model.num_queries, model.decoder.hidden_dim, model.mask_dim, model.decoder.num_heads) == (
            100,
            256,
            256,
            8,
        )
        assert (model.decoder.num_layers, model.decoder.feedforward_dim, model.decoder.dropout) == (6, 2048, 0.1)
        assert model.decoder.deep_supervision
    assert recipes.transformer_fpn_model(recipes.RESNET_50, 133).pixel_decoder.gives == ("transformer_encoder",)
    assert recipes.fpn_model(recipes.RESNET_50, 150).pixel_decoder.gives == ()
    assert recipes.fpn_model(recipes.RESNET_50, 150).decoder.enforce_input_projection


def test_optimizers_are_the_reference_s():
    resnet, swin = recipes.resnet_optimizer(), recipes.swin_optimizer()
    assert (resnet.learning_rate, resnet.backbone_multiplier, resnet.weight_decay) == (1e-4, 0.1, 1e-4)
    assert (swin.learning_rate, swin.backbone_multiplier, swin.weight_decay) == (6e-5, 1.0, 0.01)
    assert (swin.warmup_steps, swin.warmup_factor, swin.clip_norm, resnet.clip_norm) == (1500, 1e-6, 0.01, 0.01)


def test_semantic_edges_are_tenths_of_the_base_edge():
    parser = recipes.semantic_data(16, 512, (512, 512), max_size_px=2048).parser
    assert (parser.min_sizes_px[0], parser.min_sizes_px[5], parser.min_sizes_px[-1]) == (256, 512, 1024)
    assert len(parser.min_sizes_px) == 16
    assert recipes.detr_data(64).parser.min_sizes_px == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)


@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_stands_on_the_model_s_defaults_where_it_says_nothing(name):
    model = experiments.get(name).task.model
    if model.decoder.type != "eomt":  # A ViT's norms stand where they stand.
        assert model.decoder.pre_norm is ModelConfig().decoder.pre_norm
    assert getattr(model.decoder, "encoder_layers", 0) == 0  # Mask2Former's has none.


@pytest.mark.parametrize("name", experiments.names())
def test_a_photo_is_padded_with_black_where_training_padded_with_black(name):
    task = experiments.get(name).task
    parser = task.train_data.parser
    # Crops are padded with a pixel that the network sees, whole photos with zeros behind the normalisation.
    is_black = parser.augmentation in ("lsj", "semantic") and parser.padding_pixel == 0
    assert task.inference.pads_with_black == is_black


@pytest.mark.parametrize(
    ("name", "photo_px", "resized_px", "seen_px"),
    [
        # 512 * 640 / 480 = 682.7; the next multiple of 32 is 704. `INPUT.SIZE_DIVISIBILITY` 512 is the mapper's alone.
        ("ade20k_semantic_r50", (480, 640), (512, 683), (512, 704)),
        ("ade20k_semantic_swin_base", (640, 480), (853, 640), (864, 640)),
        ("ade20k_panoptic_r101", (480, 640), (640, 853), (640, 864)),
        ("cityscapes_semantic_r101c", (90, 150), (1024, 1707), (1024, 1728)),
        ("cityscapes_semantic_r101", (512, 1024), (1024, 2048), (1024, 2048)),
        ("vistas_semantic_r50", (96, 200), (983, 2048), (992, 2048)),
        ("coco_panoptic_r101", (480, 640), (800, 1067), (800, 1067)),
    ],
)
def test_a_test_photo_is_padded_to_a_multiple_of_the_network_s_divisor(name, photo_px, resized_px, seen_px):
    config = experiments.get(name).task.inference
    photos = PhotoInference(SeesAll(), config, [True, False])
    padded, valid_size_px = photos.prepare(tf.zeros([*photo_px, 3], tf.uint8))
    np.testing.assert_array_equal(valid_size_px, resized_px)
    assert tuple(padded.shape[:2]) == seen_px


def test_the_mapper_s_padding_is_training_s_alone():
    for name, padded_px in (("ade20k_semantic_r50", 512), ("ade20k_panoptic_r50", 640), ("vistas_semantic_r50", 1280)):
        task = experiments.get(name).task
        assert task.train_data.parser.output_size == (padded_px, padded_px)
        assert (task.train_data.parser.size_divisibility, task.inference.size_divisibility) == (32, 32)
    cityscapes = experiments.get("cityscapes_semantic_r101").task.train_data.parser
    assert (cityscapes.output_size, cityscapes.size_divisibility) == ((0, 0), 32)
