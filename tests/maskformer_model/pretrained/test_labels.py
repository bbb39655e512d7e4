"""The categories of a converted checkpoint: names from the source, things and stuff from whatever is known of them."""

import json

import pytest

from maskformer_model.pretrained.hugging_face_config import require_our_pixels
from maskformer_model.pretrained.labels import Labels, categories_of, read_labels


def write_folder(folder, id2label, **others):
    (folder / "config.json").write_text(json.dumps({"id2label": id2label, **others}))
    return folder


def things(table):
    return [category.name for category in table.categories if category.isthing]


def test_names_are_in_the_order_of_their_numbers_and_not_of_the_file(tmp_path):
    labels = read_labels(
        write_folder(tmp_path, {"1": "sky", "0": "ball", "2": "sea", "10": "x"} | {str(k): "y" for k in range(3, 10)})
    )
    assert labels.names[:3] == ("ball", "sky", "sea")
    assert (labels.names[10], labels.fused) == ("x", None)


def test_numbers_with_gaps_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must number its labels 0, 1"):
        read_labels(write_folder(tmp_path, {"1": "sky", "2": "ball"}))


def test_what_is_fused_is_stuff_wherever_the_folder_says_it(tmp_path):
    of_config = read_labels(write_folder(tmp_path, {"0": "ball", "1": "sky"}, label_ids_to_fuse=[1]))
    (tmp_path / "preprocessor_config.json").write_text('{"label_ids_to_fuse": [0]}')
    of_processor = read_labels(write_folder(tmp_path, {"0": "ball", "1": "sky"}))
    for labels, expected in ((of_config, ["ball"]), (of_processor, ["sky"])):
        table, words = categories_of(labels, 2, "panoptic")
        assert things(table) == expected
        assert "`label_ids_to_fuse`" in words


def test_nothing_fused_means_things_only():
    table, _ = categories_of(Labels(("ball", "sky"), frozenset()), 2, "panoptic")
    assert things(table) == ["ball", "sky"]


def test_classes_of_a_published_data_set_have_its_things_and_ids_in_either_spelling():
    _, words = categories_of(Labels(("road", "car"), None), 2, "panoptic")
    assert "name those with --stuff" in words
    coco, _ = categories_of(Labels(), 133, "panoptic", "mask2former_coco_panoptic_r50")
    # Hugging Face writes "wall" for COCO's "wall-other-merged" and "floor" for "floor-other-merged".
    short = tuple(name.replace("-other-merged", "").replace("-merged", "") for name in coco.names)
    table, words = categories_of(Labels(short, None), 133, "panoptic")
    assert (len(things(table)), table.category_id(80), table.names[-1]) == (80, 92, "rug")
    assert "those of coco" in words


@pytest.mark.parametrize(
    ("recipe", "num_classes", "num_things", "first_id"),
    [
        ("maskformer_coco_panoptic", 133, 80, 1),
        ("mask2former_coco_instance_r50", 80, 80, 1),
        ("ade20k_semantic_r50", 150, 100, 0),
        ("cityscapes_semantic_r101", 19, 8, 7),
        ("mask2former_vistas_panoptic_r50", 65, 37, 1),
    ],
)
def test_a_source_without_names_has_those_of_its_published_recipe(recipe, num_classes, num_things, first_id):
    table, words = categories_of(Labels(), num_classes, "panoptic", recipe)
    assert (len(things(table)), table.category_id(0)) == (num_things, first_id)
    assert words == f"the classes are those of {recipe}"
    assert categories_of(Labels(), num_classes + 1, "panoptic", recipe) == (
        None,
        "the source does not name its classes",
    )


@pytest.mark.parametrize(
    ("kind", "expected"), [("semantic", []), ("instance", ["ball", "sky"]), ("panoptic", ["ball", "sky"])]
)
def test_without_any_hint_the_task_decides(kind, expected):
    table, words = categories_of(Labels(("ball", "sky")), 2, kind)
    assert things(table) == expected
    assert ("--stuff" in words) == (kind == "panoptic")


def test_the_person_who_converts_has_the_last_word():
    labels = Labels(("ball", "sky"), frozenset({0}))
    table, words = categories_of(labels, 2, "panoptic", stuff=["sky"])
    assert (things(table), words) == (["ball"], "things and stuff are as --stuff says")
    with pytest.raises(ValueError, match="Received: sea"):
        categories_of(labels, 2, "panoptic", stuff=["sea"])
    with pytest.raises(ValueError, match="does not name its classes"):
        categories_of(Labels(), 2, "panoptic", stuff=["sky"])
    with pytest.raises(ValueError, match="the network's 3 classes. Received: 2"):
        categories_of(labels, 3, "panoptic")


IMAGENET = {"image_mean": [0.48500001430511475, 0.4560000002384186, 0.4059999883174896], "rescale_factor": 0.00392}


@pytest.mark.parametrize("stated", [{}, IMAGENET, {"do_normalize": True, "do_rescale": True, "image_std": None}])
def test_a_processor_that_prepares_photos_as_we_do_is_taken(tmp_path, stated):
    require_our_pixels(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    require_our_pixels(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_mean", [0.5, 0.5, 0.5]),
        ("image_std", [0.5, 0.5, 0.5]),
        ("image_std", 0.5),
        ("do_normalize", False),
        ("do_rescale", False),
        ("rescale_factor", 1 / 127.5),
    ],
)
def test_other_pixels_than_ours_are_refused(tmp_path, key, value):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(IMAGENET | {key: value}))
    with pytest.raises(ValueError, match=f"`{key}` in .*preprocessor_config.json must be"):
        require_our_pixels(tmp_path)
