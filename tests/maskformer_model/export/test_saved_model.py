"""The exported model in TensorFlow alone: what it answers, what it refuses, what travels with it."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from maskformer_model.categories import CategoryTable
from maskformer_model.config import override
from maskformer_model.config.files import DATA_FACTS_FILE
from maskformer_model.data import preprocessing
from maskformer_model.data.normalization import normalize
from maskformer_model.data.panoptic_png import decode_panoptic_png, segment_extents
from maskformer_model.export.saved_model import export_saved_model
from maskformer_model.inference import bands, photo_inference, postprocessing
from maskformer_model.inference.test_time_augmentation import View
from tests.maskformer_model.helpers.small_export import CATEGORIES, MAX_PIXELS, encoded, photo, small_config

# Run with nothing of ours on the path: this is all that a caller needs.
_CALLER = """
import pathlib, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
signature = model.signatures["serving_default"]
for path in sys.argv[3:]:
    answer = signature(image_bytes=tf.constant([pathlib.Path(path).read_bytes()]))
    out = pathlib.Path(sys.argv[2], pathlib.Path(path).stem)
    out.with_suffix(".png").write_bytes(answer["panoptic_png_bytes"].numpy()[0])
assert "maskformer_model" not in sys.modules
"""


@pytest.fixture(scope="module")
def model(exported):
    return tf.saved_model.load(str(exported[0]))


@pytest.fixture
def panoptic(model):
    """Encoded photos -> the outputs of `serving_default` as numpy arrays."""
    return lambda *photos: {
        name: value.numpy()
        for name, value in model.signatures["serving_default"](image_bytes=tf.constant(list(photos), tf.string)).items()
    }


def test_what_travels_with_a_model_is_written_to_a_bucket_too(exported):
    folder = pathlib.Path(exported[0], "assets.extra")
    export_saved_model(exported[1], CATEGORIES, small_config(), "ram://bucket/model", data_facts={"size": 1})
    names = sorted(tf.io.gfile.listdir("ram://bucket/model/assets.extra"))
    assert names == sorted([*(path.name for path in folder.iterdir()), DATA_FACTS_FILE])
    assert CategoryTable.load("ram://bucket/model/assets.extra/categories.json") == CATEGORIES


def python_path(network, config, isthing):
    """What Python computes without an export: encoded photo -> `(segment map, classes, scores)`."""
    photos = photo_inference.PhotoInference(network, config.task.inference, isthing)
    thresholds = config.task.inference.object_mask_threshold, config.task.inference.overlap_threshold

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def answer(image_bytes):
        return photos.panoptic(preprocessing.decode_image(image_bytes), *thresholds)

    return answer


def whole_view(network, config, image):
    """All queries of the photo as the network sees it, resized and padded."""
    resized = preprocessing.resize_for_inference(image, config.task.inference)
    padded = photo_inference.pad_to_multiple(resized, config.task.inference.size_divisibility)
    valid = resized.shape[:2]
    outputs = network(normalize(padded[None], np.array([valid])), training=False)
    return View(outputs["class_logits"][0], outputs["mask_logits"][0], tuple(padded.shape[:2]), tuple(valid))


def resized_logits(network, config, image):
    """Class logits and all masks at the photo's own size, as the reference makes them: every query, all at once."""
    view = whole_view(network, config, image)
    return view.class_logits, view.resized(image.shape[:2])


def semantic_labels(network, config, image, fusion_size):
    """The class of every pixel from whole maps of scores."""
    scores = whole_view(network, config, image).semantic_scores(image.shape[:2], fusion_size)
    return postprocessing.semantic_map(scores).numpy()


@pytest.mark.parametrize("decoder_input", ["auto", "pixel_embedding"])
@pytest.mark.parametrize("band_pixels", [700, 1 << 17])
def test_masks_of_kept_queries_in_bands_give_the_answer_of_all_masks_at_once(monkeypatch, decoder_input, band_pixels):
    from tests.maskformer_model.helpers.small_export import small_network

    monkeypatch.setattr(bands, "BAND_PIXELS", band_pixels)
    config = small_config(transformer_in_feature=decoder_input)
    network, image = small_network(config), photo(60, 95)
    photos = photo_inference.PhotoInference(network, config.task.inference, CATEGORIES.isthing)
    classes, masks = resized_logits(network, config, image)

    ours = photos.panoptic(tf.constant(image), 0.5, 0.1)
    whole = postprocessing.panoptic_inference(classes, masks, CATEGORIES.isthing, 0.5, 0.1)
    num_segments = int(whole["num_segments"])
    assert int(ours["num_segments"]) == num_segments > 1
    # The masks' last convolution is done in another order, so a pixel between two queries may go to the other one.
    assert np.mean(ours["segment_map"] == whole["segment_map"]) > 0.999
    np.testing.assert_array_equal(ours["segment_classes"][:num_segments], whole["segment_classes"][:num_segments])
    np.testing.assert_allclose(ours["segment_scores"][:num_segments], whole["segment_scores"][:num_segments], rtol=1e-5)
    assert np.mean(photos.semantic(tf.constant(image)) == semantic_labels(network, config, image, "input")) > 0.999


def test_a_process_with_tensorflow_alone_answers_as_python_does_to_the_pixel(exported, tmp_path):
    directory, network = exported
    paths = []
    for number, size in enumerate([(48, 64), (70, 50), (33, 90)]):
        paths.append(tmp_path / f"photo{number}.jpg")
        paths[-1].write_bytes(encoded(photo(*size, seed=number), "JPEG"))
    command = [sys.executable, "-c", _CALLER, str(directory), str(tmp_path), *map(str, paths)]
    subprocess.run(command, check=True, cwd=tmp_path, env={"PATH": "/usr/bin", "TF_CPP_MIN_LOG_LEVEL": "3"})
    answer = python_path(network, small_config(), CATEGORIES.isthing)
    for path in paths:
        ours = answer(path.read_bytes())
        theirs = decode_panoptic_png(path.with_suffix(".png").read_bytes())
        np.testing.assert_array_equal(theirs, ours["segment_map"])
        assert len(np.unique(theirs)) > 1


def test_a_batch_of_different_sizes_holds_what_each_photo_gets_alone(panoptic):
    photos = [encoded(photo(*size, seed=seed)) for seed, size in enumerate([(40, 40), (64, 200), (7, 3)])]
    batch = panoptic(*photos)
    for index, image in enumerate(photos):
        alone = panoptic(image)
        assert alone.keys() == batch.keys()
        for name in alone:
            np.testing.assert_array_equal(batch[name][index], alone[name][0])


def test_the_segments_say_what_the_png_shows(panoptic):
    answer = {name: value[0] for name, value in panoptic(encoded(photo(50, 80))).items()}
    ids, areas, boxes = segment_extents(decode_panoptic_png(answer["panoptic_png_bytes"]))
    count = int(answer["num_segments"])
    np.testing.assert_array_equal(answer["segment_ids"][:count], ids)
    np.testing.assert_array_equal(answer["areas"][:count], areas)
    np.testing.assert_array_equal(answer["boxes"][:count], boxes)
    classes = answer["class_indices"][:count]
    np.testing.assert_array_equal(answer["category_ids"][:count], CATEGORIES.category_ids[classes])
    assert [name.decode() for name in answer["class_names"][:count]] == [CATEGORIES.names[c] for c in classes]
    np.testing.assert_array_equal(answer["isthing"][:count], CATEGORIES.isthing[classes])
    for name in ("segment_ids", "category_ids", "class_indices", "isthing", "scores", "areas", "boxes"):
        assert not answer[name][count:].any()


def test_thresholds_of_the_caller_replace_the_exported_ones(model, panoptic):
    image = tf.constant([encoded(photo(50, 80))])

    def segments(object_mask, overlap):
        return model.signatures["panoptic"](
            image_bytes=image,
            object_mask_threshold=tf.constant(object_mask),
            overlap_threshold=tf.constant(overlap),
        )["num_segments"].numpy()[0]

    assert segments(0.5, 0.1) == panoptic(image.numpy()[0])["num_segments"][0]
    assert segments(1.0, 0.1) == 0
    assert segments(0.5, 1.1) == 0


def test_semantic_instances_and_logits_are_those_of_the_network(exported, model):
    config, image = small_config(), photo(50, 80)
    classes, masks = resized_logits(exported[1], config, image)
    file = tf.constant([encoded(image)])

    answer = model.signatures["semantic"](image_bytes=file)
    labels = tf.io.decode_png(answer["semantic_png_bytes"][0])[..., 0].numpy()
    expected, of_other_order = (semantic_labels(exported[1], config, image, size) for size in ("input", "photo"))
    assert np.mean(labels == expected) > 0.999
    assert np.mean(labels == of_other_order) < np.mean(labels == expected)
    np.testing.assert_array_equal(answer["areas"][0], np.bincount(labels.ravel(), minlength=4))

    answer = {name: value[0].numpy() for name, value in model.signatures["instances"](image_bytes=file).items()}
    expected = postprocessing.instance_inference(classes, masks, isthing=CATEGORIES.isthing)
    scores = np.sort(expected["scores"].numpy()[expected["scores"].numpy() > 0])[::-1]
    count = int(answer["num_instances"])
    assert count == len(scores) > 0
    np.testing.assert_allclose(answer["scores"][:count], scores, rtol=1e-3, atol=1e-5)
    mask = tf.io.decode_png(answer["mask_png_bytes"][0])[..., 0].numpy()
    assert set(np.unique(mask)) <= {0, 255} and (mask > 0).sum() == answer["areas"][0]
    assert all(CATEGORIES.isthing[answer["class_indices"][:count]]) and not answer["mask_png_bytes"][count:].any()

    sized = np.stack([photo(64, 96, seed=1), photo(64, 96, seed=2)])
    answer = model.signatures["logits"](images=tf.constant(sized))
    expected = exported[1](normalize(sized), training=False)
    for name in ("class_logits", "mask_logits"):
        np.testing.assert_allclose(answer[name], expected[name], rtol=1e-3, atol=1e-3)


def whole_jpeg():
    return encoded(photo(40, 60), "JPEG")


def too_large_png():
    """The header of a PNG of 20,000 x 20,000 px and next to nothing behind it: decoding it would fail otherwise."""
    head = bytearray(encoded(photo(8, 8)))
    head[16:24] = (20_000).to_bytes(4, "big") * 2
    return bytes(head)


def too_large_jpeg():
    """A JPEG whose frame header says 20,000 x 20,000 px."""
    whole = bytearray(whole_jpeg())
    frame = whole.index(b"\xff\xc0")
    whole[frame + 5 : frame + 9] = (20_000).to_bytes(2, "big") * 2
    return bytes(whole)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "must be a JPEG or PNG file"),
        (b"Not a photo at all.", "must be a JPEG or PNG file"),
        (encoded(photo(8, 8), "GIF"), "must be a JPEG or PNG file.*GIF89a|GIF87a"),
        (encoded(photo(8, 8), "BMP"), "must be a JPEG or PNG file"),
        (whole_jpeg()[:-200], "cut off or damaged"),
        (whole_jpeg()[:150], "must be"),
        (encoded(photo(40, 60))[:-300], "cut off or damaged"),
        (encoded(photo(8, 8))[:20], "must be a JPEG or PNG file"),
        (too_large_png(), f"at most {MAX_PIXELS} pixels.*20000 20000"),
        (too_large_jpeg(), f"at most {MAX_PIXELS} pixels.*20000 20000"),
    ],
    ids=[
        "empty",
        "text",
        "gif",
        "bmp",
        "cut jpeg",
        "cut jpeg header",
        "cut png",
        "cut png header",
        "large png",
        "large jpeg",
    ],
)
@pytest.mark.parametrize("signature", ["serving_default", "semantic", "instances"])
def test_what_is_no_whole_photo_is_refused_by_its_place_in_the_batch(model, bad, message, signature):
    photos = tf.constant([whole_jpeg(), bad, whole_jpeg()])
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"(?s)image_bytes\[1\].*({message})"):
        model.signatures[signature](image_bytes=photos)


def shown(image: Image.Image) -> bytes:
    """The same pixels in the plainest form."""
    return encoded(np.asarray(image.convert("RGB")))


def test_rare_forms_of_a_photo_get_the_answer_of_their_pixels(panoptic):
    plain = Image.fromarray(photo(40, 60))
    cmyk = encoded(plain.convert("CMYK"), "JPEG")
    sixteen_bits = tf.io.encode_png(tf.cast(photo(40, 60), tf.uint16) * 257).numpy()
    exif = Image.Exif()
    exif[0x0112] = 6  # Shown a quarter turn to the right; the stored pixels are what is segmented.
    rare = {
        "CMYK": (cmyk, encoded(preprocessing.decode_image(tf.constant(cmyk)).numpy())),
        "16 bits": (sixteen_bits, encoded(plain)),
        "palette": (encoded(plain.quantize(64)), shown(plain.quantize(64))),
        "grayscale": (encoded(plain.convert("L")), shown(plain.convert("L"))),
        "transparent": (encoded(plain.convert("RGBA")), encoded(plain)),
        "animated": (encoded(plain, save_all=True, append_images=[plain.rotate(180)]), encoded(plain)),
        "rotated": (encoded(plain, "JPEG", exif=exif), encoded(plain, "JPEG")),
    }
    for name, (image_bytes, same_pixels) in rare.items():
        ours, expected = panoptic(image_bytes), panoptic(same_pixels)
        assert ours["panoptic_png_bytes"][0] == expected["panoptic_png_bytes"][0], name


def test_a_cmyk_jpeg_is_read_as_pillow_reads_it():
    cmyk = encoded(Image.fromarray(photo(40, 60)).convert("CMYK"), "JPEG", quality=95)
    import io

    expected = np.asarray(Image.open(io.BytesIO(cmyk)).convert("RGB")).astype(int)
    assert np.abs(preprocessing.decode_image(tf.constant(cmyk)).numpy().astype(int) - expected).max() <= 2


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (2, 3)])
def test_extreme_sizes_get_a_map_of_their_size(panoptic, size):
    answer = panoptic(encoded(photo(*size)))
    assert decode_panoptic_png(answer["panoptic_png_bytes"][0]).shape == size


def test_an_empty_batch_gets_an_empty_answer(panoptic):
    assert panoptic()["segment_ids"].shape == (0, 12)


def test_what_the_numbers_mean_travels_with_the_model(exported):
    extra = exported[0] / "assets.extra"
    assert CategoryTable.load(extra / "categories.json") == CATEGORIES
    facts = json.loads((extra / "serving.json").read_text())
    assert facts["inference"]["object_mask_threshold"] == 0.5
    assert facts["preprocessing"]["pixel_mean"] == [123.675, 116.28, 103.53]
    signatures = "serving_default panoptic panoptic_of_one_size semantic instances logits"
    assert facts["signatures"] == signatures.split()
    assert json.loads((extra / "training_history.json").read_text()) == [{"step": 1, "loss": 2.0}]


@pytest.mark.slow
def test_real_photos_are_answered_alike_by_tensorflow_alone_by_python_and_in_a_batch(shared_dir, tmp_path):
    from tests.maskformer_model.helpers.small_export import small_network

    config = override(small_config(num_queries=40), "task.inference.max_pixels=1000000")
    network = small_network(config)
    export_saved_model(network, CATEGORIES, config, str(tmp_path / "model"))
    paths = sorted((shared_dir / "data/coco_panoptic/val2017").glob("*.jpg"))
    assert len(paths) == 60
    command = [sys.executable, "-c", _CALLER, str(tmp_path / "model"), str(tmp_path), *map(str, paths)]
    subprocess.run(command, check=True, cwd=tmp_path, env={"PATH": "/usr/bin", "TF_CPP_MIN_LOG_LEVEL": "3"})
    answer = python_path(network, config, CATEGORIES.isthing)
    signature = tf.saved_model.load(str(tmp_path / "model"))
    batch = signature.signatures["serving_default"](image_bytes=tf.constant([path.read_bytes() for path in paths]))
    for index, path in enumerate(paths):
        theirs = decode_panoptic_png((tmp_path / f"{path.stem}.png").read_bytes())
        np.testing.assert_array_equal(theirs, answer(path.read_bytes())["segment_map"], err_msg=path.name)
        in_batch = decode_panoptic_png(batch["panoptic_png_bytes"].numpy()[index])
        assert np.mean(theirs == in_batch) >= 0.9999


@pytest.mark.slow
def test_an_export_that_is_asked_for_test_time_augmentation_carries_it(tmp_path):
    from maskformer_model.inference.test_time_augmentation import augmented_panoptic, augmented_semantic
    from tests.maskformer_model.helpers.small_export import small_network

    config = override(small_config(), "task.inference.augmented_edges_px=[64,96]")
    network, image = small_network(config), photo(50, 80)
    export_saved_model(network, CATEGORIES, config, str(tmp_path / "model"))
    loaded, file = tf.saved_model.load(str(tmp_path / "model")), tf.constant([encoded(image)])
    settings = config.task.inference

    answer = loaded.signatures["serving_default"](image_bytes=file)
    expected = augmented_panoptic(network, tf.constant(image), CATEGORIES.isthing, settings)["segment_map"]
    theirs = decode_panoptic_png(answer["panoptic_png_bytes"].numpy()[0])
    assert np.mean(theirs == expected) > 0.999
    alone = loaded.signatures["semantic"](image_bytes=file)["semantic_png_bytes"][0]
    labels = postprocessing.semantic_map(augmented_semantic(network, tf.constant(image), settings))
    assert np.mean(tf.io.decode_png(alone)[..., 0] == tf.cast(labels, tf.uint8)) > 0.999
    instances = loaded.signatures["instances"](image_bytes=file)
    assert int(instances["num_instances"][0]) > 0
    one_view = python_path(network, small_config(), CATEGORIES.isthing)(file[0])["segment_map"]
    assert np.mean(theirs == one_view) < 1.0
    facts = json.loads((tmp_path / "model" / "assets.extra" / "serving.json").read_text())
    assert facts["inference"]["augmented_edges_px"] == [64, 96]
