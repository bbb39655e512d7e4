"""A Mask2Former from its three parts gives the numbers of the official PyTorch code: outputs, masks, losses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.config import LossConfig
from maskformer_model.losses import criterion
from maskformer_model.modeling.layers.bilinear import resize_bilinear
from maskformer_model.pretrained import initialize
from maskformer_model.pretrained.architecture import infer_model_config
from maskformer_model.pretrained.sources import read_checkpoint

OUTPUT_BAR = 1e-4  # Of the largest magnitude.
LOSS_BAR = 1e-4  # Relative.


@pytest.fixture(scope="module")
def golden(project_dir):
    folder = project_dir / "tests" / "golden" / "m2f_resnet50_tiny"
    arrays = {name: dict(np.load(folder / f"{name}.npz")) for name in ("inputs", "outputs", "points")}
    return {"folder": folder, "settings": json.loads((folder / "golden.json").read_text()), **arrays}


@pytest.fixture(scope="module")
def network(golden):
    checkpoint = read_checkpoint(str(golden["folder"]))
    built = initialize.build_network(infer_model_config(checkpoint.arrays, checkpoint.settings))
    initialize.load_official_weights(built, checkpoint.arrays)
    return built


def assert_close(value, expected):
    value = np.asarray(value)
    assert value.shape == expected.shape
    assert np.abs(value - expected).max() <= OUTPUT_BAR * np.abs(expected).max()


def image_of(golden):
    return tf.constant(golden["outputs"]["padded_images"].transpose(0, 2, 3, 1))


def test_every_output_and_every_blocked_cell_is_the_official_one(golden, network):
    expected = golden["outputs"]
    outputs = network.outputs_with_features(image_of(golden))
    for index in range(3):
        assert_close(
            outputs["memory"][f"scale_{index}"], expected[f"multi_scale_features.{index}"].transpose(0, 2, 3, 1)
        )
    assert_close(outputs["mask_features"], expected["mask_features"].transpose(0, 2, 3, 1))
    layers = {"": outputs} | {f"aux_{index}.": layer for index, layer in enumerate(outputs["aux_outputs"])}
    assert len(layers) == 4
    for prefix, layer in layers.items():
        assert_close(layer["class_logits"], expected[f"{prefix}pred_logits"])
        assert_close(layer["mask_logits"], expected[f"{prefix}pred_masks"])
    features = {**outputs["memory"], "pixel_embedding": outputs["mask_features"]}
    _, _, blocked = network.predictor.decode(features)
    for index, cells in enumerate(blocked):
        packed = np.packbits(np.asarray(cells), axis=-1)
        np.testing.assert_array_equal(packed, expected[f"attention_mask.layer_{index}"])


def test_masks_of_chosen_queries_are_those_of_the_whole_network(golden, network):
    image = image_of(golden)
    proposed = network.propose(image)
    outputs = network(image, training=False)
    np.testing.assert_allclose(proposed["class_logits"], outputs["class_logits"], atol=1e-5)
    chosen = network.mask_logits_of(proposed["mask_embeddings"][1, 3:5], proposed["pixels"][1])
    np.testing.assert_allclose(chosen, outputs["mask_logits"][1, 3:5], atol=1e-4)


def targets_of(golden):
    """The segment map of the padded batch and the classes of its targets."""
    height, width = golden["outputs"]["padded_images"].shape[2:]
    labels = [golden["inputs"][f"labels_{image}"] for image in range(2)]
    segment_map = np.zeros((2, height, width), np.int32)
    segment_classes = np.full((2, max(map(len, labels)) + 1), -1, np.int32)
    for image, image_labels in enumerate(labels):
        segment_classes[image, : len(image_labels)] = image_labels
        for target, mask in enumerate(golden["inputs"][f"masks_{image}"], start=1):
            segment_map[image, : mask.shape[0], : mask.shape[1]][mask] = target
    return segment_map, segment_classes


def official_outputs(golden):
    layers = [
        {"class_logits": golden["outputs"][f"{name}pred_logits"], "mask_logits": golden["outputs"][f"{name}pred_masks"]}
        for name in ("aux_0.", "aux_1.", "aux_2.", "")
    ]
    return {**layers[-1], "aux_outputs": layers[:-1]}, layers


def loss_config(golden, **changes):
    options = golden["settings"]["mask_former"]
    return LossConfig(
        class_weight=options["CLASS_WEIGHT"],
        class_cost=options["CLASS_WEIGHT"],
        mask_weight=options["MASK_WEIGHT"],
        dice_weight=options["DICE_WEIGHT"],
        pixel_loss="cross_entropy",
        mask_loss="points",
        **{"num_points": options["TRAIN_NUM_POINTS"], **changes},
    )


def check_losses(golden, config, draw, match, expected):
    outputs, layers = official_outputs(golden)
    segment_map, segment_classes = targets_of(golden)
    queries, finite = criterion.match_layers(layers, segment_map, segment_classes, config, draw=draw)
    for layer, found in enumerate(np.asarray(query) for query in queries):
        for image in range(2):
            key = f"{match}.layer_{layer}.image_{image}"
            wanted = np.full(found.shape[1], -1)
            wanted[golden["outputs"][f"{key}.target"]] = golden["outputs"][f"{key}.query"]
            assert found[image].tolist() == wanted.tolist()
    matched = (queries, finite)
    terms = criterion.maskformer_losses(outputs, segment_map, segment_classes, config, matched=matched, draw=draw)
    wanted = {name: value for name, value in expected.items() if name.startswith("loss_")}
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        assert float(terms[name]) == pytest.approx(value, rel=LOSS_BAR), name


def test_assignments_and_losses_on_given_points_are_the_official_ones(golden):
    points = golden["points"]

    def draw(layer, kind, shape):
        if kind == "matcher":
            return np.concatenate([points[f"matcher.layer_{layer}.image_{image}"] for image in range(2)])
        return points[f"loss_{kind}.layer_{layer}"]

    check_losses(golden, loss_config(golden), draw, "match", golden["settings"]["trajectory"][0])


def test_losses_on_all_pixel_centres_are_the_official_ones(golden):
    height, width = golden["outputs"]["padded_images"].shape[2:]
    y, x = np.mgrid[:height, :width]
    centres = np.stack([(x.ravel() + 0.5) / width, (y.ravel() + 0.5) / height], axis=-1).astype(np.float32)
    config = loss_config(golden, num_points=len(centres), oversample_ratio=1.0, importance_sample_ratio=0.0)

    def draw(layer, kind, shape):
        assert kind != "oversampled"
        return np.broadcast_to(centres, shape)

    check_losses(golden, config, draw, "exact_match", golden["settings"]["exact_mask_losses"])


def test_bilinear_maps_grow_and_shrink_as_pytorch_s():
    image = np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1)
    grown = np.asarray(resize_bilinear(image, 1, 8))[0, 0, :, 0]
    np.testing.assert_allclose(grown, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    assert np.asarray(resize_bilinear(image, 1, 2))[0, 0, :, 0].tolist() == [0.5, 2.5]
