"""What MaskFormer's tests say of exports, views and precisions, for a tiny network of each other family."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import maskformer_model
from maskformer_model.backend import precision
from maskformer_model.config import override
from maskformer_model.data import preprocessing
from maskformer_model.data.normalization import normalize
from maskformer_model.data.panoptic_png import decode_panoptic_png
from maskformer_model.export.saved_model import export_saved_model
from maskformer_model.inference import photo_inference, postprocessing
from maskformer_model.inference.test_time_augmentation import View, augmented_panoptic, augmented_semantic
from maskformer_model.modeling.maskformer import MaskFormer
from maskformer_model.training import loop
from tests.maskformer_model.helpers import tiny_run
from tests.maskformer_model.helpers.families import FAMILIES
from tests.maskformer_model.helpers.small_export import (
    CATEGORIES,
    encoded,
    override_inference,
    photo,
    small_config,
    small_network,
)

pytestmark = [pytest.mark.slow, pytest.mark.takes(seconds=110)]
PHOTO = photo(50, 80)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def config(family):
    """Answers for photos of 64 to 96 px; no mask of attention is left."""
    return override(small_config(), FAMILIES[family].replace("num_queries=8", "num_queries=12"))


@pytest.fixture(scope="module")
def network(config):
    return small_network(config)


@pytest.fixture(scope="module")
def exported(network, config, tmp_path_factory):
    """The folder of the only version."""
    directory = tmp_path_factory.mktemp("serving") / "1700000000"
    export_saved_model(network, CATEGORIES, config, str(directory))
    return directory


@pytest.fixture(scope="module")
def view(network, config):
    """All queries of the photo as the network sees it, resized and padded, by the Keras network."""
    settings = config.task.inference
    resized = preprocessing.resize_for_inference(tf.constant(PHOTO), settings)
    padded = photo_inference.pad_to_multiple(resized, settings.size_divisibility)
    valid = tuple(resized.shape[:2])
    assert tuple(padded.shape[:2]) != valid
    outputs = network(normalize(padded[None], None if settings.pads_with_black else np.array([valid])))
    return View(outputs["class_logits"][0], outputs["mask_logits"][0], tuple(padded.shape[:2]), valid)


@pytest.fixture(scope="module")
def expected_panoptic(view, config):
    settings = config.task.inference
    thresholds = settings.object_mask_threshold, settings.overlap_threshold, settings.pixel_threshold
    masks = view.resized(PHOTO.shape[:2])
    return postprocessing.panoptic_inference(view.class_logits, masks, CATEGORIES.isthing, *thresholds)


@pytest.fixture(scope="module")
def signatures(exported):
    model = tf.saved_model.load(str(exported))
    yield model.signatures  # With the model, which holds the variables.


def test_panoptic_signatures_answer_as_the_keras_network_does(signatures, expected_panoptic):
    count = int(expected_panoptic["num_segments"])
    assert count > 1
    for name in ("serving_default", "panoptic_of_one_size"):
        answer = {key: value[0].numpy() for key, value in signatures[name](tf.constant([encoded(PHOTO)])).items()}
        assert answer["num_segments"] == count
        segment_map = decode_panoptic_png(answer["panoptic_png_bytes"])
        assert np.mean(segment_map == expected_panoptic["segment_map"]) > 0.999
        np.testing.assert_array_equal(answer["class_indices"][:count], expected_panoptic["segment_classes"][:count])
        np.testing.assert_allclose(answer["scores"][:count], expected_panoptic["segment_scores"][:count], rtol=1e-4)


def test_semantic_instances_and_logits_are_those_of_the_keras_network(signatures, network, view):
    file = tf.constant([encoded(PHOTO)])
    labels = tf.io.decode_png(signatures["semantic"](file)["semantic_png_bytes"][0])[..., 0].numpy()
    expected = postprocessing.semantic_map(view.semantic_scores(PHOTO.shape[:2], "input"))
    assert np.mean(labels == expected) > 0.999

    answer = {name: value[0].numpy() for name, value in signatures["instances"](file).items()}
    masks = view.resized(PHOTO.shape[:2])
    expected = postprocessing.instance_inference(view.class_logits, masks, isthing=CATEGORIES.isthing)
    scores = np.sort(expected["scores"].numpy()[expected["scores"].numpy() > 0])[::-1]
    count = int(answer["num_instances"])
    assert count == len(scores) > 0
    np.testing.assert_allclose(answer["scores"][:count], scores, rtol=1e-3, atol=1e-5)

    sized = np.stack([photo(64, 96, seed=1), photo(64, 96, seed=2)])
    answer = signatures["logits"](images=tf.constant(sized))
    expected = network(normalize(sized), training=False)
    for name in ("class_logits", "mask_logits"):
        np.testing.assert_allclose(answer[name], expected[name], rtol=1e-3, atol=1e-3)


def test_images_that_are_no_whole_patches_are_refused(signatures, config):
    cut = tf.constant(photo(64, 90)[None])
    if config.task.model.backbone.size_multiple == 1:
        assert signatures["logits"](images=cut)["mask_logits"].shape == (1, 12, 16, 23)
        return
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"multiples of 16 px.*\[64 90\]"):
        signatures["logits"](images=cut)


def test_from_directory_gives_the_answers_of_the_signatures(exported, signatures):
    model = maskformer_model.MaskFormer.from_directory(exported.parent)
    file = tf.constant([encoded(PHOTO)])
    result = model.predict(PHOTO)
    answer = {name: value[0].numpy() for name, value in signatures["serving_default"](file).items()}
    np.testing.assert_array_equal(result.segment_ids, decode_panoptic_png(answer["panoptic_png_bytes"]))
    assert [segment.area_px for segment in result.segments] == answer["areas"][: answer["num_segments"]].tolist()
    labels = tf.io.decode_png(signatures["semantic"](file)["semantic_png_bytes"][0])[..., 0]
    np.testing.assert_array_equal(model.predict_semantic(PHOTO).class_map, labels)
    assert len(model.predict_instances(PHOTO).segments) == signatures["instances"](file)["num_instances"][0]


def test_views_of_a_photo_are_merged(network, view, config):
    network = tf.function(network, input_signature=[tf.TensorSpec([1, None, None, 3])], autograph=False)
    alone = override_inference(config, augmented_edges_px=(min(view.valid_size_px),), augmented_flip=False)
    # One view is the photo as it is.
    single = augmented_semantic(network, tf.constant(PHOTO), alone.task.inference).numpy()
    np.testing.assert_allclose(single, view.semantic_scores(PHOTO.shape[:2], "input"), atol=1e-3)
    # Of a photo that is not resized, the mirrored one has the very same views.
    sized = photo(64, 96)
    several = override_inference(config, augmented_edges_px=(64,)).task.inference
    scores = augmented_semantic(network, tf.constant(sized), several).numpy()
    mirrored = augmented_semantic(network, tf.constant(sized[:, ::-1].copy()), several).numpy()
    np.testing.assert_allclose(mirrored[:, :, ::-1], scores, atol=1e-4)
    unmirrored = override_inference(config, augmented_edges_px=(64,), augmented_flip=False).task.inference
    assert np.abs(augmented_semantic(network, tf.constant(sized), unmirrored) - scores).max() > 0.01
    answer = augmented_panoptic(network, tf.constant(PHOTO), CATEGORIES.isthing, several)
    assert answer["segment_map"].shape == PHOTO.shape[:2] and answer["num_segments"] > 0


@pytest.mark.parametrize(("dtype", "bound"), [("bfloat16", 0.1), ("float16", 0.02)])
def test_half_precision_answers_nearly_as_float32_does(family, dtype, bound):
    model = dataclasses.replace(tiny_run.experiment(FAMILIES[family]).task.model, num_classes=4)
    network = MaskFormer(model)
    network.build()
    with precision.dtype_policy(dtype):
        half = MaskFormer(model)
        half.build()
    half.set_weights(network.get_weights())
    assert half.predictor.compute_dtype == dtype
    image = np.stack([normalize(photo(64, 96, seed=seed)[None])[0] for seed in (0, 1)])
    expected, answer = network(image, training=False), half(image, training=False)
    for name in ("class_logits", "mask_logits"):
        wanted, found = (np.asarray(tf.cast(outputs[name], tf.float32)) for outputs in (expected, answer))
        # Of the spread of the outputs, which are random.
        assert np.abs(found - wanted).mean() < bound * wanted.std()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    return folder, tiny_run.write_records(folder)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_a_training_in_half_precision_learns(family, records, tmp_path, dtype):
    folder, categories = records
    overrides = f"{FAMILIES[family]},runtime.mixed_precision_dtype={dtype},trainer.train_steps=30"
    result = loop.train(
        tiny_run.experiment(overrides),
        train_files=[str(folder / "train.tfrecord")],
        categories=categories,
        model_dir=str(tmp_path),
        progress=False,
    )
    losses = [row["loss"] for row in result.history if "loss" in row]
    assert np.isfinite(losses).all() and losses[-1] < 0.8 * losses[0]
    # float16 looks for its loss scale first.
    assert result.history[-1]["skipped_steps"] < (15 if dtype == "mixed_float16" else 1)
    assert all(np.isfinite(weight).all() for weight in result.network.get_weights())
