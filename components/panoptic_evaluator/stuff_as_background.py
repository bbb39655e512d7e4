"""Scores a panoptic model on data that names things only: what it calls stuff is background there.

Instances have no stuff, so a model that was trained on the panoptic form of the same data knows classes that the
instances do not, such as `background`. Its things are scored by the same numbers in both forms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from components.panoptic_predictor.serving_model import ServedAnswer, ServingModel, categories_of_model
from maskformer_model.categories import Category, CategoryTable, TableMatch, compare_categories
from maskformer_model.data import panoptic_png


def stuff_that_data_lacks(model: CategoryTable, data: CategoryTable) -> tuple[Category, ...]:
    """Returns the stuff that the model knows beside the data's classes; empty where they differ otherwise, or not."""
    if not all(category.isthing for category in data.categories):
        return ()
    lacking = tuple(category for category in model.categories if not category.isthing)
    things = [category for category in model.categories if category.isthing]
    same = things and compare_categories(CategoryTable(tuple(things)), data).match is TableMatch.SAME
    return lacking if same else ()


class StuffAsBackground(ServingModel):
    """A model whose answers keep things alone, numbered as in the data.

    Args:
        model_dir: Its things are the data's classes.
    """

    def __init__(self, model_dir: str):
        super().__init__(model_dir)
        things = np.flatnonzero(categories_of_model(model_dir).isthing).tolist()
        self._index_in_data = {index: place for place, index in enumerate(things)}

    def padded_size_px(self, height_px: int, width_px: int) -> None:
        """Returns None, so that every photo is answered by `predict_task`."""

    def predict_task(self, images: Sequence[bytes]) -> list[ServedAnswer]:
        """Returns the model's answers, with stuff as void in the PNG."""
        return [self._things_of(answer) for answer in super().predict_task(images)]

    def _things_of(self, answer: ServedAnswer) -> ServedAnswer:
        places = self._index_in_data
        things = [segment for segment in answer.segments if segment.class_index in places]
        ids = panoptic_png.decode_panoptic_png(answer.panoptic_png)
        ids[~np.isin(ids, [segment.id for segment in things])] = panoptic_png.VOID_SEGMENT_ID
        instances = answer.instances
        if instances is not None:
            known = [instance for instance in instances if instance.class_index in places]
            instances = tuple(dataclasses.replace(one, class_index=places[one.class_index]) for one in known)
        return dataclasses.replace(
            answer,
            panoptic_png=panoptic_png.encode_panoptic_png(ids),
            segments=tuple(dataclasses.replace(one, class_index=places[one.class_index]) for one in things),
            instances=instances,
        )
