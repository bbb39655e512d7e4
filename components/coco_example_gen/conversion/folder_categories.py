"""Finds the one category table of a folder of records, whatever jsons they are made from."""

from __future__ import annotations

import json
import os

import tensorflow as tf

from maskformer_model.categories import CategoryTable, TableMatch, compare_categories
from maskformer_model.config.files import CATEGORIES_FILE


def categories_for(categories: CategoryTable, output_prefix: str) -> CategoryTable:
    """Returns the table by which records of a json are written into a folder.

    A folder has one `categories.json`, which says what the class indices of all its records mean. Where there is one
    already, a json that lists the same categories in another order is written by the folder's order.

    Args:
        categories: The categories of the json.
        output_prefix: The path that the new record files' names begin with.

    Raises:
        ValueError: If the folder's records have other categories.
    """
    folder = os.path.dirname(output_prefix)
    path = os.path.join(folder, CATEGORIES_FILE)
    if not tf.io.gfile.exists(path) or not _other_records(folder, os.path.basename(output_prefix)):
        return categories
    with tf.io.gfile.GFile(path) as file:
        of_folder = CategoryTable.from_coco(json.load(file))
    match, words = compare_categories(of_folder, categories, "in the folder", "in the json")
    if match == TableMatch.OTHER:
        raise ValueError(
            f"{folder} holds records of other categories, and a folder has one list of them: {words}. "
            "Choose another folder for `output_file_prefix`."
        )
    return of_folder


def _other_records(folder: str, prefix: str) -> list[str]:
    """Lists the record files of the folder that this job will not replace."""
    names = tf.io.gfile.listdir(folder)
    return [name for name in names if ".tfrecord" in name and not name.startswith(f"{prefix}-")]
