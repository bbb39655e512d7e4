"""The model that a process loaded last, with a real export."""

from __future__ import annotations

import shutil

from components.panoptic_predictor.shared_model import shared_model
from tests.maskformer_model.helpers.small_export import encoded, export_small, photo


def test_a_model_is_loaded_once_and_let_go_of_when_another_is_asked_for(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    export_small(first)
    shutil.copytree(first, second)
    kept = shared_model(str(first))
    assert shared_model(str(first)) is kept
    other = shared_model(str(second))
    assert other is not kept
    image = encoded(photo(40, 60, seed=0))
    [answer], [again] = kept.predict([image]), other.predict([image])
    assert answer.panoptic_png == again.panoptic_png
