"""Category ids of the files and class indices of the tensors never mix."""

import numpy as np
import pytest

from maskformer_model.categories import CategoryTable, TableMatch, compare_categories

GAPS = [
    {"id": 92, "name": "banner", "isthing": 0, "color": [1, 2, 3]},
    {"id": 1, "name": "person", "isthing": 1, "color": [220, 20, 60]},
    {"id": 200, "name": "rug", "isthing": 0},
]


def test_class_indices_follow_the_order_of_the_file_and_not_the_ids():
    table = CategoryTable.from_coco(GAPS)
    assert [table.class_index(category_id) for category_id in (92, 1, 200)] == [0, 1, 2]
    assert [table.category_id(index) for index in range(3)] == [92, 1, 200]
    np.testing.assert_array_equal(table.isthing, [False, True, False])


def test_a_saved_table_comes_back_equal(tmp_path):
    table = CategoryTable.from_coco(GAPS)
    table.save(tmp_path / "categories.json")
    assert CategoryTable.load(tmp_path / "categories.json") == table


def test_a_table_in_a_bucket_is_read_as_one_on_a_disk_is():
    table = CategoryTable.from_coco([{"id": 3, "name": "Straße"}, {"id": 1, "name": "sky", "isthing": 0}])
    table.save("ram://bucket/categories.json")
    assert CategoryTable.load("ram://bucket/categories.json") == table


def test_an_instance_file_s_categories_are_things():
    assert CategoryTable.from_coco([{"id": 3, "name": "cat"}]).isthing.tolist() == [True]


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([], "at least one"),
        ([GAPS[0], GAPS[0]], "unique"),
        ([{"id": 1}], "category 1: `name` must be text. Received: None"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(entries, complaint):
    with pytest.raises(ValueError, match=complaint):
        CategoryTable.from_coco(entries)


def test_ids_and_indices_that_do_not_exist_are_refused():
    table = CategoryTable.from_coco(GAPS)
    with pytest.raises(KeyError, match="2"):
        table.class_index(2)
    with pytest.raises(IndexError, match="3"):
        table.category_id(3)
    with pytest.raises(IndexError, match="-1"):
        table.category_id(-1)


def test_the_official_categories_are_133_with_80_things(shared_dir):
    table = CategoryTable.load(shared_dir / "data" / "panoptic_coco_categories.json")
    assert (table.num_classes, int(table.isthing.sum())) == (133, 80)
    assert table.category_id(132) == 200


def test_tables_are_compared_by_id_name_kind_and_order():
    ball, sky = {"id": 1, "name": "ball"}, {"id": 92, "name": "sky", "isthing": 0}
    table = CategoryTable.from_coco([ball, sky])
    assert compare_categories(table, CategoryTable.from_coco([ball | {"color": [1, 2, 3]}, sky])) == (
        TableMatch.SAME,
        "",
    )
    match, words = compare_categories(table, CategoryTable.from_coco([sky, ball]))
    assert match == TableMatch.REORDERED and "class 0 is 'ball' here and 'sky' there" in words
    for other in (ball | {"name": "disc"}, ball | {"id": 2}, ball | {"isthing": 0}):
        match, words = compare_categories(table, CategoryTable.from_coco([other, sky]))
        assert match == TableMatch.OTHER and "only here: ball (id 1, thing)" in words


def test_a_name_that_two_categories_share_is_told_apart_by_the_id():
    table = CategoryTable.from_coco(
        [{"id": 0, "name": "cells"}, {"id": 1, "name": "cells"}, {"id": 2, "name": "debris"}]
    )
    assert table.names == ("cells (id 0)", "cells (id 1)", "debris")
