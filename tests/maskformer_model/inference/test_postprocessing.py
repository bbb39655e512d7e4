"""Each rule on logits made by hand; one image = batch = graph = XLA; the official answers for six photos."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from maskformer_model.inference import postprocessing
from tests import parity_postprocess

CAT, DOG, SKY, GRASS = range(4)
ISTHING = np.array([True, True, False, False])
INSIDE, OUTSIDE = 6.0, -6.0  # Logits of a confident mask: 0.9975 and 0.0025.


def class_logits(*queries: tuple[int | None, float]) -> np.ndarray:
    """`[queries, 5]`: each query gives its class (None = no object) this probability; the rest is shared evenly."""
    rows = []
    for class_index, prob in queries:
        probs = np.full(5, (1 - prob) / 4)
        probs[4 if class_index is None else class_index] = prob
        rows.append(np.log(probs))
    return np.array(rows, np.float32)


def mask_logits(*masks: str) -> np.ndarray:
    """`[queries, 1, width]`: '#' inside, '.' outside."""
    return np.array([[[INSIDE if c == "#" else OUTSIDE for c in mask]] for mask in masks], np.float32)


def panoptic(classes, masks, object_mask_threshold=0.8, overlap_threshold=0.8, pixel_threshold=0.0):
    """The map's only row and `(class, score)` of each segment."""
    answer = postprocessing.panoptic_inference(
        classes, masks, ISTHING, object_mask_threshold, overlap_threshold, pixel_threshold
    )
    answer = {name: np.asarray(value) for name, value in answer.items()}
    num_segments = int(answer["num_segments"])
    assert (answer["segment_classes"][num_segments:] == -1).all()
    assert (answer["segment_scores"][num_segments:] == 0).all()
    segments = zip(answer["segment_classes"][:num_segments], answer["segment_scores"], strict=False)
    return answer["segment_map"][0].tolist(), [(int(c), round(float(score), 4)) for c, score in segments]


def test_segments_are_numbered_in_query_order():
    classes = class_logits((DOG, 0.9), (SKY, 0.85), (CAT, 0.95))
    assert panoptic(classes, mask_logits("....##", "##....", "..##..")) == (
        [2, 2, 3, 3, 1, 1],
        [(DOG, 0.9), (SKY, 0.85), (CAT, 0.95)],
    )


def test_a_query_for_no_object_is_left_out_and_its_pixels_go_to_others_or_void():
    classes = class_logits((None, 0.99), (CAT, 0.9))
    # The cat owns all four pixels, although its mask covers two: nobody else wants them.
    assert panoptic(classes, mask_logits("####", "##..")) == ([1, 1, 1, 1], [(CAT, 0.9)])


def test_with_mask2former_s_rule_a_query_paints_only_where_its_mask_is_at_least_one_half():
    classes = class_logits((CAT, 0.9))
    assert panoptic(classes, mask_logits("##.."), pixel_threshold=0.5) == ([1, 1, 0, 0], [(CAT, 0.9)])
    exactly_half = np.zeros((1, 1, 1), np.float32)
    assert panoptic(classes, exactly_half, pixel_threshold=0.5) == ([1], [(CAT, 0.9)])


def test_with_mask2former_s_rule_a_query_without_a_pixel_to_paint_is_dropped():
    classes = class_logits((CAT, 0.95), (DOG, 0.82))
    # The cat owns its half-sure pixel and the other, where it is unsure but above the dog; the dog keeps none.
    probs = np.array([[[0.49, 0.9]], [[0.5, 0.1]]])
    masks = np.log(probs / (1 - probs)).astype(np.float32)
    assert panoptic(classes, masks, overlap_threshold=0.0) == ([1, 1], [(CAT, 0.95)])
    assert panoptic(classes, masks, overlap_threshold=0.0, pixel_threshold=0.5) == ([0, 1], [(CAT, 0.95)])
    only_unsure = np.log(np.array([[[0.49, 0.49]], [[0.5, 0.1]]]) / (1 - np.array([[[0.49, 0.49]], [[0.5, 0.1]]])))
    assert panoptic(classes, only_unsure.astype(np.float32), pixel_threshold=0.5) == ([0, 0], [])


def test_a_query_must_be_above_the_threshold():
    classes = class_logits((CAT, 0.79), (DOG, 0.81))
    assert panoptic(classes, mask_logits("##..", "..##"))[1] == [(DOG, 0.81)]
    exactly = np.array([[50.0, -50, -50, -50, -50]], np.float32)  # Probability 1 to the last bit.
    assert panoptic(exactly, mask_logits("##"), object_mask_threshold=1.0)[1] == []
    assert panoptic(exactly, mask_logits("##"), object_mask_threshold=0.9999)[1] == [(CAT, 1.0)]


def test_an_image_of_confident_nothing_is_all_void():
    assert panoptic(class_logits((None, 0.9), (CAT, 0.5)), mask_logits("##..", "..##")) == ([0, 0, 0, 0], [])


def test_a_pixel_goes_to_the_largest_product_of_both_probabilities():
    classes = class_logits((CAT, 0.82), (DOG, 0.98))
    masks = np.log([[[0.9, 0.9]], [[0.7, 0.8]]] / (1 - np.array([[[0.9, 0.9]], [[0.7, 0.8]]]))).astype(np.float32)
    # 0.738 against 0.686 and against 0.784; an overlap threshold of one half keeps both.
    assert panoptic(classes, masks, overlap_threshold=0.5)[0] == [1, 2]


def test_equal_products_go_to_the_first_query():
    classes = class_logits((CAT, 0.9), (DOG, 0.9))
    assert panoptic(classes, mask_logits("##", "##")) == ([1, 1], [(CAT, 0.9)])


@pytest.mark.parametrize(("overlap_threshold", "is_kept"), [(0.8, True), (0.81, False)])
def test_a_segment_that_keeps_exactly_the_threshold_of_its_mask_stays(overlap_threshold, is_kept):
    classes = class_logits((DOG, 0.9), (CAT, 0.95))
    # The dog keeps 4 of 5 pixels. Dropped, its pixels stay void.
    expected = [1, 1, 1, 1, 2, 2, 2, 2, 2, 2] if is_kept else [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert (
        panoptic(classes, mask_logits("#####.....", "....######"), overlap_threshold=overlap_threshold)[0] == expected
    )


def test_a_mask_below_one_half_everywhere_is_no_segment():
    masks = np.full((1, 1, 3), -0.1, np.float32)
    assert panoptic(class_logits((CAT, 0.9)), masks) == ([0, 0, 0], [])
    assert panoptic(class_logits((CAT, 0.9)), np.zeros((1, 1, 3), np.float32)) == ([1, 1, 1], [(CAT, 0.9)])


def test_a_query_that_owns_no_pixel_is_no_segment_even_without_an_overlap_filter():
    classes = class_logits((CAT, 0.9), (DOG, 0.95))
    assert panoptic(classes, mask_logits("##", "##"), overlap_threshold=0.0) == ([1, 1], [(DOG, 0.95)])


def test_stuff_of_one_class_is_one_segment_and_things_are_not():
    classes = class_logits((SKY, 0.9), (CAT, 0.91), (GRASS, 0.92), (SKY, 0.93), (CAT, 0.94), (GRASS, 0.95))
    masks = mask_logits("#.....", ".#....", "..#...", "...#..", "....#.", ".....#")
    assert panoptic(classes, masks) == (
        [1, 2, 3, 1, 4, 3],
        [(SKY, 0.9), (CAT, 0.91), (GRASS, 0.92), (CAT, 0.94)],
    )


def test_stuff_does_not_join_a_segment_that_was_dropped():
    classes = class_logits((SKY, 0.85), (CAT, 0.95), (SKY, 0.9))
    # The first sky keeps 1 of its 4 pixels and is dropped; the second becomes the segment.
    masks = mask_logits("####..", ".###..", "....##")
    assert panoptic(classes, masks) == ([0, 1, 1, 1, 2, 2], [(CAT, 0.95), (SKY, 0.9)])


def test_a_probability_that_underflows_still_goes_to_a_kept_query():
    classes = class_logits((None, 0.99), (CAT, 0.9))
    masks = np.array([[[5.0, 5.0]], [[5.0, -200.0]]], np.float32)
    assert panoptic(classes, masks)[0] == [1, 1]


def test_a_query_that_is_not_finite_proposes_nothing():
    classes = class_logits((CAT, 0.9), (DOG, 0.9))
    classes[0] = np.nan
    assert panoptic(classes, mask_logits("##..", "..##")) == ([1, 1, 1, 1], [(DOG, 0.9)])


def random_logits(num_images=3, num_queries=12, size=(9, 7), seed=0):
    random = np.random.default_rng(seed)
    classes = random.normal(size=(num_images, num_queries, 5)).astype(np.float32) * 6
    masks = random.normal(size=(num_images, num_queries, *size)).astype(np.float32) * 4
    return classes, masks


def loop_panoptic(classes, masks, object_mask_threshold, overlap_threshold, pixel_threshold=0.0):
    """The rules once more, query by query."""
    probs = np.asarray(tf.nn.softmax(classes))
    kept = [q for q in range(len(probs)) if probs[q].argmax() < 4 and probs[q].max() > object_mask_threshold]
    segment_map, segments, stuff = np.zeros(masks.shape[1:], int), [], {}
    if not kept:
        return segment_map, segments
    mask_probs = np.asarray(tf.sigmoid(masks))[kept]
    owner = (probs[kept].max(axis=1)[:, None, None] * mask_probs).argmax(axis=0)
    for k, query in enumerate(kept):
        class_index, owned, own = int(probs[query].argmax()), owner == k, (mask_probs[k] >= 0.5).sum()
        painted = owned & (mask_probs[k] >= pixel_threshold)
        if not painted.sum() or not own or owned.sum() / own < overlap_threshold:
            continue
        if class_index not in stuff:
            segments.append(class_index)
        segment_map[painted] = stuff.get(class_index, len(segments))
        if not ISTHING[class_index]:
            stuff.setdefault(class_index, len(segments))
    return segment_map, segments


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("overlap_threshold", "pixel_threshold"), [(0.0, 0.0), (0.15, 0.0), (0.15, 0.5)])
def test_the_answer_equals_a_loop_over_queries(seed, overlap_threshold, pixel_threshold):
    classes, masks = random_logits(seed=seed)
    batch = postprocessing.panoptic_inference(classes, masks, ISTHING, 0.6, overlap_threshold, pixel_threshold)
    for image in range(len(classes)):
        segment_map, segments = loop_panoptic(classes[image], masks[image], 0.6, overlap_threshold, pixel_threshold)
        np.testing.assert_array_equal(batch["segment_map"][image], segment_map)
        assert batch["segment_classes"][image, : int(batch["num_segments"][image])].numpy().tolist() == segments


def answers(classes, masks):
    """Every task's answer in one dict."""
    scores = postprocessing.semantic_inference(classes, masks)
    return {
        **postprocessing.panoptic_inference(classes, masks, ISTHING, 0.6, 0.15),
        **postprocessing.instance_inference(classes, masks, isthing=ISTHING, max_instances=10),
        "semantic_scores": scores,
        "semantic_map": postprocessing.semantic_map(scores),
        "resized": postprocessing.resize_logits(masks, (5, 11)),
    }


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_batch_holds_what_each_image_gets_alone():
    classes, masks = random_logits()
    batch = answers(classes, masks)
    for image in range(len(classes)):
        alone = answers(classes[image], masks[image])
        assert_same(alone, {name: value[image] for name, value in batch.items()})


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_equal_eager(jit_compile):
    classes, masks = random_logits()
    assert_same(tf.function(answers, jit_compile=jit_compile)(classes, masks), answers(classes, masks))


def test_shapes_are_static_where_the_arguments_are():
    concrete = tf.function(answers).get_concrete_function(
        tf.TensorSpec([2, 6, 5], tf.float32), tf.TensorSpec([2, 6, 8, 9], tf.float32)
    )
    shapes = {name: spec.shape.as_list() for name, spec in concrete.structured_outputs.items()}
    assert shapes == {
        "segment_map": [2, 8, 9],
        "segment_classes": [2, 6],
        "segment_scores": [2, 6],
        "num_segments": [2],
        "masks": [2, 10, 8, 9],
        "classes": [2, 10],
        "scores": [2, 10],
        "semantic_scores": [2, 4, 8, 9],
        "semantic_map": [2, 8, 9],
        "resized": [2, 6, 5, 11],
    }


def test_half_precision_logits_are_read_as_float32():
    classes, masks = random_logits(num_images=1)
    answer = answers(tf.cast(classes, tf.bfloat16), tf.cast(masks, tf.bfloat16))
    assert {answer[name].dtype for name in ("segment_scores", "scores", "semantic_scores", "resized")} == {tf.float32}


@tf.function(
    input_signature=[
        tf.TensorSpec([None, 5], tf.float32),
        tf.TensorSpec([None, None, None], tf.float32),
        tf.TensorSpec([2], tf.int32),
    ]
)
def panoptic_of_kept(classes, masks, size_px):
    """As an export does it: sizes known only at run time, only kept queries upsampled."""
    order, num_kept = postprocessing.kept_queries(classes, 0.6)
    chosen = order[: tf.maximum(num_kept, 1)]
    masks = postprocessing.resize_logits(tf.gather(masks, chosen), (size_px[0], size_px[1]))
    return postprocessing.panoptic_inference(tf.gather(classes, chosen), masks, ISTHING, 0.6, 0.15)


@pytest.mark.parametrize("bias", [0.0, 20.0])  # 20 towards no object: nothing is kept.
def test_leaving_out_the_queries_that_are_not_kept_changes_nothing(bias):
    classes, masks = random_logits(num_images=1)
    classes[..., 4] += bias
    every = postprocessing.panoptic_inference(
        classes[0], postprocessing.resize_logits(masks[0], (20, 30)), ISTHING, 0.6, 0.15
    )
    kept = panoptic_of_kept(classes[0], masks[0], [20, 30])
    num_segments = int(every["num_segments"])
    assert num_segments == int(kept["num_segments"])
    assert (num_segments == 0) == (bias > 0)
    np.testing.assert_array_equal(every["segment_map"], kept["segment_map"])
    for name in ("segment_classes", "segment_scores"):
        np.testing.assert_array_equal(every[name][:num_segments], kept[name][:num_segments])


def test_kept_queries_come_first_in_their_order():
    order, num_kept = postprocessing.kept_queries(class_logits((None, 0.9), (CAT, 0.9), (DOG, 0.5), (SKY, 0.9)), 0.8)
    assert (order.numpy().tolist(), int(num_kept)) == ([1, 3, 0, 2], 2)


def test_resizing_uses_half_pixel_centres_and_repeats_the_border():
    # New centres in old pixels: -0.25, 0.25, 0.75, 1.25.
    resized = postprocessing.resize_logits(np.array([[[0.0, 4.0]]], np.float32), (1, 4))
    np.testing.assert_allclose(resized, [[[0.0, 1.0, 3.0, 4.0]]], atol=1e-6)


def test_shrinking_takes_the_two_nearest_pixels_without_antialiasing():
    # New centres in old pixels: 1.5 and 5.5.
    resized = postprocessing.resize_logits(np.arange(8, dtype=np.float32)[None, None] ** 2, (1, 2))
    np.testing.assert_allclose(resized, [[[(1 + 4) / 2, (25 + 36) / 2]]], atol=1e-5)


@pytest.mark.parametrize("size_px", [(13, 5), (4, 40), (9, 7), (1, 1)])
def test_resizing_equals_tensorflows_bilinear(size_px):
    _, masks = random_logits()
    expected = tf.image.resize(tf.transpose(masks, (0, 2, 3, 1)), size_px)
    np.testing.assert_allclose(
        postprocessing.resize_logits(masks, size_px), tf.transpose(expected, (0, 3, 1, 2)), atol=1e-5
    )


def test_the_way_through_padding_equals_its_three_steps():
    _, masks = random_logits()
    padded = postprocessing.resize_logits(masks, (36, 28))
    expected = postprocessing.resize_logits(padded[..., :30, :21], (50, 33))
    at_once = postprocessing.resize_logits(masks, (50, 33), padded_size_px=(36, 28), valid_size_px=(30, 21))
    np.testing.assert_allclose(at_once, expected, atol=1e-5)
    with pytest.raises(ValueError, match="together or not at all"):
        postprocessing.resize_logits(masks, (50, 33), padded_size_px=(36, 28))


def test_semantic_scores_add_up_over_queries():
    classes = class_logits((CAT, 0.6), (CAT, 0.5), (SKY, 0.96))
    masks = np.full((3, 1, 1), [[[0.0]], [[0.0]], [[0.0]]], np.float32)  # Mask probability 1/2 each.
    scores = postprocessing.semantic_inference(classes, masks)
    np.testing.assert_allclose(scores[:, 0, 0], [0.555, 0.1175, 0.5925, 0.1175], atol=1e-6)
    assert postprocessing.semantic_map(scores).numpy().tolist() == [[SKY]]


def test_instances_are_the_best_pairs_of_query_and_class():
    classes = class_logits((CAT, 0.7), (SKY, 0.9))
    masks = mask_logits("#...", ".###")
    answer = postprocessing.instance_inference(classes, masks, max_instances=3)
    assert answer["classes"].numpy()[:2].tolist() == [SKY, CAT]
    inside = 1 / (1 + np.exp(-INSIDE))
    np.testing.assert_allclose(answer["scores"][:2], [0.9 * inside, 0.7 * inside], rtol=1e-5)
    assert answer["masks"].numpy()[:2].tolist() == [[[False, True, True, True]], [[True, False, False, False]]]


def test_stuff_is_no_instance_of_a_panoptic_model():
    answer = postprocessing.instance_inference(
        class_logits((CAT, 0.7), (SKY, 0.9)), mask_logits("##", "##"), isthing=ISTHING, max_instances=2
    )
    assert answer["classes"].numpy().tolist() == [-1, CAT]
    assert answer["scores"].numpy()[0] == 0


def test_there_are_no_more_instances_than_pairs_and_an_empty_mask_scores_0():
    answer = postprocessing.instance_inference(class_logits((CAT, 0.7)), mask_logits("..."))
    assert answer["classes"].shape == (4,)
    assert answer["scores"].numpy().max() == 0


@pytest.mark.parametrize(
    "folder", ["postprocess", pytest.param("m2f_postprocess", marks=pytest.mark.slow, id="m2f_postprocess")]
)
def test_the_official_post_processing_gives_the_same_answers(shared_dir, folder):
    rows = parity_postprocess.compare_folder(shared_dir / "data" / "golden" / folder)
    assert len(rows) == 6
    assert all(row["passed"] for row in rows), rows


def test_the_parity_command_finds_an_instance_with_another_mask(shared_dir, tmp_path):
    golden = shared_dir / "data/golden/m2f_postprocess"
    with np.load(golden / "postprocess.npz") as arrays:
        photo = {name: arrays[name] for name in arrays.files if name.endswith("_0")}
    photo["instance_masks_0"][0] = ~photo["instance_masks_0"][0]
    np.savez(tmp_path / "postprocess.npz", **photo)
    (tmp_path / "postprocess.json").write_text((golden / "postprocess.json").read_text())
    [row] = parity_postprocess.compare_folder(tmp_path)
    assert (row["segments_info_equal"], row["instances"], row["passed"]) == (True, "DIFFERENT", False)


def test_the_parity_command_fails_on_another_answer(shared_dir, tmp_path, capsys):
    golden = shared_dir / "data/golden/postprocess"
    with np.load(golden / "postprocess.npz") as arrays:
        photo = {name: arrays[name] for name in arrays.files if name.endswith("_1")}
    photo["panoptic_1"] = photo["panoptic_1"] + 1
    np.savez(tmp_path / "postprocess.npz", **photo)
    (tmp_path / "postprocess.json").write_text((golden / "postprocess.json").read_text())
    assert parity_postprocess.main([str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out
