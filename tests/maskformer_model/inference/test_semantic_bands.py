"""The class of every pixel, fused at the size of the network's input or at the photo's."""

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model import experiments
from maskformer_model.config import from_dict, to_dict
from maskformer_model.inference import postprocessing
from maskformer_model.inference.semantic_bands import class_map
from maskformer_model.inference.test_time_augmentation import View

# Query 0 is class 0, query 1 is class 1, for certain.
SURE = np.array([[50.0, 0.0, 0.0], [0.0, 50.0, 0.0]], np.float32)
# One row of two pixels, doubled to four: the photo's second pixel is 3/4 of the first and 1/4 of the second.
MASKS = np.array([[[-1.0, 9.0]], [[1.0, -1.0]]], np.float32)


def view_of(masks, *, valid_px=(1, 2), is_flipped=False):
    return View(tf.constant(SURE), tf.constant(masks), masks.shape[1:], valid_px, is_flipped)


def test_scores_are_fused_before_they_are_resized():
    # sigmoid(-1), (1), (9) = 0.269, 0.731, 1.000. The second pixel: 0.75 * 0.269 + 0.25 * 1 = 0.452 for class 0 and
    # 0.75 * 0.731 + 0.25 * 0.269 = 0.616 for class 1.
    scores = view_of(MASKS).semantic_scores((1, 4), "input").numpy()
    np.testing.assert_allclose(scores[:, 0], [[0.269, 0.452, 0.817, 1.0], [0.731, 0.616, 0.384, 0.269]], atol=1e-3)
    np.testing.assert_array_equal(class_map([view_of(MASKS)], tf.constant([1, 4]), "input"), [[1, 1, 0, 0]])


def test_masks_are_resized_before_they_are_fused():
    # The second pixel's logits: 0.75 * -1 + 0.25 * 9 = 1.5 and 0.75 - 0.25 = 0.5, sigmoids 0.818 and 0.622.
    scores = view_of(MASKS).semantic_scores((1, 4), "photo").numpy()
    np.testing.assert_allclose(scores[:, 0, 1], [0.818, 0.622], atol=1e-3)
    np.testing.assert_array_equal(class_map([view_of(MASKS)], tf.constant([1, 4]), "photo"), [[1, 0, 0, 0]])


@pytest.mark.parametrize("fusion_size", ["input", "photo"])
def test_padding_is_cut_off_before_scores_are_resized(fusion_size):
    padded = np.pad(MASKS, [[0, 0], [0, 3], [0, 2]], constant_values=30)
    expected = view_of(MASKS).semantic_scores((3, 4), fusion_size)
    np.testing.assert_allclose(view_of(padded).semantic_scores((3, 4), fusion_size), expected, atol=1e-6)
    labels = class_map([view_of(padded)], tf.constant([3, 4]), fusion_size)
    np.testing.assert_array_equal(labels, postprocessing.semantic_map(expected))


@pytest.mark.parametrize("fusion_size", ["input", "photo"])
def test_a_mirrored_view_is_turned_back(fusion_size):
    mirrored = view_of(MASKS[..., ::-1], is_flipped=True)
    expected = view_of(MASKS).semantic_scores((1, 4), fusion_size)
    np.testing.assert_allclose(mirrored.semantic_scores((1, 4), fusion_size), expected, atol=1e-6)
    labels = class_map([mirrored, view_of(MASKS)], tf.constant([1, 4]), fusion_size)
    np.testing.assert_array_equal(labels, postprocessing.semantic_map(expected))


def test_an_experiment_that_was_written_before_there_were_two_orders_keeps_its_own():
    values = to_dict(experiments.get("ade20k_semantic_r50"))
    assert values["task"]["inference"].pop("semantic_fusion_size") == "input"
    assert from_dict(values).task.inference.semantic_fusion_size == "photo"


@pytest.mark.parametrize("num_queries", [5, 9])  # Fewer than the seven classes, and more.
@pytest.mark.parametrize("photo_px", [(37, 50), (96, 131), (61, 93)])
def test_every_pixel_is_as_pytorch_computes_it(photo_px, num_queries):
    torch = pytest.importorskip("torch", reason="the extra `parity` brings torch")
    functional = torch.nn.functional
    random = np.random.default_rng(0)
    classes = random.normal(size=(num_queries, 8)).astype(np.float32) * 3
    masks = random.normal(size=(num_queries, 16, 24)).astype(np.float32) * 4
    padded_px, valid_px = (64, 96), (61, 93)

    # `mask_former_model.py`, lines 183 to 210, and detectron2's `sem_seg_postprocess`.
    logits = functional.interpolate(torch.tensor(masks)[None], size=padded_px, mode="bilinear", align_corners=False)[0]
    probs = torch.tensor(classes).softmax(-1)[..., :-1]
    scores = torch.einsum("qc,qhw->chw", probs, logits.sigmoid())[:, : valid_px[0], : valid_px[1]]
    scores = functional.interpolate(scores[None], size=photo_px, mode="bilinear", align_corners=False)[0].numpy()

    view = View(tf.constant(classes), tf.constant(masks), padded_px, valid_px)
    np.testing.assert_allclose(view.semantic_scores(photo_px, "input"), scores, atol=2e-6)
    labels = class_map([view], tf.constant(photo_px), "input").numpy()
    best, second = np.sort(scores, axis=0)[::-1][:2]
    np.testing.assert_array_equal(labels[best - second > 1e-5], scores.argmax(axis=0)[best - second > 1e-5])
    assert np.mean(best - second > 1e-5) > 0.999
