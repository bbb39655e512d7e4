"""A small network with random weights whose answers still have segments, and its export."""

from __future__ import annotations

import io
import pathlib

import numpy as np
from PIL import Image

from maskformer_model import config as config_lib
from maskformer_model.categories import CategoryTable
from maskformer_model.config import ExperimentConfig, InferenceConfig, ResNetConfig, TaskConfig
from tests.maskformer_model.helpers.flat_model import model_config

CATEGORIES = CategoryTable.from_coco(
    [
        {"id": 5, "name": "cat", "isthing": 1, "color": [200, 40, 40]},
        {"id": 9, "name": "sky", "isthing": 0, "color": [80, 120, 220]},
        {"id": 2, "name": "dog", "isthing": 1, "color": [240, 200, 0]},
        {"id": 200, "name": "grass", "isthing": 0, "color": [60, 160, 60]},
    ]
)
MAX_PIXELS = 200_000


def small_config(**model) -> ExperimentConfig:
    """A ResNet-18 of sixteen channels and twelve queries; photos are seen at 64 px."""
    settings = {
        "backbone": ResNetConfig(depth=18, stem_channels=16, res2_channels=16),
        "num_classes": CATEGORIES.num_classes,
        "num_queries": 12,
        "hidden_dim": 32,
        "pixel_decoder_dim": 32,
        "mask_dim": 16,
        "num_heads": 4,
        "feedforward_dim": 32,
        "fpn_encoder_layers": 1,
        "num_decoder_layers": 1,
    }
    inference = InferenceConfig(
        object_mask_threshold=0.5,
        overlap_threshold=0.1,
        shortest_edge_px=64,
        max_size_px=96,
        size_divisibility=32,
        semantic_fusion_size="input",
        max_pixels=MAX_PIXELS,
    )
    return ExperimentConfig(task=TaskConfig(model=model_config(**settings | model), inference=inference))


def small_network(config: ExperimentConfig):
    """Built, with random weights; about half of the queries propose a segment, and masks vary over the photo."""
    import keras

    from maskformer_model.data.normalization import normalize
    from maskformer_model.modeling.maskformer import MaskFormer

    keras.utils.set_random_seed(3)
    network = MaskFormer(config.task.model)
    image = normalize(photo(64, 96)[None])
    network(image)
    confident(network, image, num_kept=config.task.model.num_queries // 2)
    return network


def confident(network, image, num_kept: int) -> None:
    """Makes a random network's queries differ and `num_kept` of them sure of their class, on this normalised image.

    At birth all queries say nearly the same. Both heads are shifted by what all queries share and scaled up.
    """
    heads = {
        "class_logits": (network.predictor.class_head, 10.0),
        "mask_embeddings": (network.predictor.mask_head[-1], 4.0),
    }
    for name, (head, spread) in heads.items():
        answers = network.propose(image)
        rows = np.asarray(answers[name][0])
        centred = rows - rows.mean(axis=0)
        shown = network.mask_logits_of(centred, answers["pixels"][0]) if name == "mask_embeddings" else centred
        scale = spread / float(np.asarray(shown).std())
        head.bias.assign((np.array(head.bias) - rows.mean(axis=0)) * scale)
        head.kernel.assign(head.kernel * scale)
    logits = np.asarray(network.propose(image)["class_logits"][0])
    margins = np.sort(logits[:, :-1].max(axis=1) - logits[:, -1])[::-1]
    bias = np.array(network.predictor.class_head.bias)
    bias[-1] += margins[num_kept - 1 : num_kept + 1].mean()
    network.predictor.class_head.bias.assign(bias)


def override_inference(config: ExperimentConfig, **values) -> ExperimentConfig:
    """The config with other inference settings."""
    return config_lib.merge(config, {"task": {"inference": values}})


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """`[height, width, 3]` uint8: smooth colours, so that JPEG and resizing are as kind as to a photo."""
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: np.ndarray | Image.Image, image_format: str = "PNG", **options) -> bytes:
    """A file of that format."""
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, image_format, **options)
    return file.getvalue()


def export_small(directory: pathlib.Path, config: ExperimentConfig | None = None):
    """Exports the small network; returns it."""
    from maskformer_model.export.saved_model import export_saved_model

    config = config or small_config()
    network = small_network(config)
    export_saved_model(network, CATEGORIES, config, str(directory), [{"step": 1, "loss": 2.0}])
    return network
