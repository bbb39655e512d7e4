"""Assignments and loss terms equal those that the official PyTorch code computed from the same logits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.losses import criterion, matcher

TINY = ("tiny_resnet50_transformer_fpn", "tiny_swin_fpn")
LARGE = ("resnet50_fpn", "resnet50_transformer_fpn", "swin_fpn")


def read_golden(folder):
    """Returns the model's outputs, segment map, segment classes, assignments and loss terms of a golden folder."""
    arrays = np.load(folder / "outputs.npz")
    inputs = np.load(folder / "inputs.npz")
    num_aux = sum(key.startswith("aux_") and key.endswith("pred_masks") for key in arrays.files)
    outputs = {"class_logits": arrays["pred_logits"], "mask_logits": arrays["pred_masks"]}
    outputs["aux_outputs"] = [
        {"class_logits": arrays[f"aux_{k}.pred_logits"], "mask_logits": arrays[f"aux_{k}.pred_masks"]}
        for k in range(num_aux)
    ]
    labels = [inputs[f"labels_{i}"] for i in range(len(arrays["pred_masks"]))]
    height, width = arrays["padded_images"].shape[2:]
    segment_map = np.zeros((len(labels), height, width), np.int32)
    segment_classes = np.full((len(labels), max(map(len, labels)) + 2), -1, np.int32)  # Two rows of padding at least.
    matches = [np.full(segment_classes.shape, -1) for _ in range(num_aux + 1)]
    for image, image_labels in enumerate(labels):
        segment_classes[image, : len(image_labels)] = image_labels
        for target, mask in enumerate(inputs[f"masks_{image}"]):
            segment_map[image, : mask.shape[0], : mask.shape[1]][mask] = target + 1
        for layer, match in enumerate(matches):
            key = f"match.layer_{layer}.image_{image}"
            match[image, arrays[f"{key}.target"]] = arrays[f"{key}.query"]
    terms = json.loads((folder / "golden.json").read_text())["trajectory"][0]
    terms = {name: value for name, value in terms.items() if name.startswith("loss_")}
    return outputs, segment_map, segment_classes, matches, terms


def check_golden(folder):
    outputs, segment_map, segment_classes, matches, terms = read_golden(folder)
    layers = [*outputs["aux_outputs"], outputs]
    found, finite = criterion.match_layers(layers, segment_map, segment_classes)
    assert all(finite)
    all_equal = all(
        matches_or_ties(layer, segment_map, segment_classes, np.asarray(query), expected)
        for layer, query, expected in zip(layers, found, matches, strict=True)
    )
    computed = criterion.maskformer_losses(outputs, segment_map, segment_classes)
    assert computed.keys() == terms.keys()
    for name, expected in terms.items():
        np.testing.assert_allclose(float(computed[name]), expected, rtol=1e-5 if all_equal else 1e-4, err_msg=name)
    given = [tf.constant(match, tf.int32) for match in matches]
    computed = criterion.maskformer_losses(outputs, segment_map, segment_classes, matched=(given, finite))
    for name, expected in terms.items():
        np.testing.assert_allclose(float(computed[name]), expected, rtol=1e-5, err_msg=name)


def matches_or_ties(layer, segment_map, segment_classes, query, expected):
    """True if equal; False if only targets changed places that look alike to the matcher; else an error.

    Two targets of one class that are both too small to be seen at the size of the predicted masks cost the same to the
    last bit, and then a rounding error anywhere else in the matrix decides between equally good assignments.
    """
    if (query == expected).all():
        return True
    height, width = layer["mask_logits"].shape[2:]
    masks = np.asarray(matcher.downsampled_targets(segment_map, (height, width), segment_classes.shape[1]))
    for image, target in zip(*np.nonzero(query != expected), strict=True):
        alike = segment_classes[image] == segment_classes[image, target]
        alike &= (masks[image] == masks[image, :, target : target + 1]).all(axis=0)
        assert alike.sum() > 1
        assert sorted(query[image, alike]) == sorted(expected[image, alike])
    return False


@pytest.mark.parametrize("name", TINY)
def test_tiny_golden_assignments_and_losses(name, project_dir):
    check_golden(project_dir / "tests" / "golden" / name)


@pytest.mark.parametrize("name", LARGE)
def test_golden_assignments_and_losses(name, shared_dir):
    check_golden(shared_dir / "data" / "golden" / name)
