"""The curves and pictures of a run as TensorBoard's event files, under `model_dir` in `train` and `validation`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from maskformer_model.categories import CategoryTable
from maskformer_model.config.scores import is_score
from maskformer_model.data import panoptic_png
from maskformer_model.data.preprocessing import decode_image
from maskformer_model.prediction.visualization import DrawnSegment, draw_panoptic

_LAYER = re.compile(r"^(loss_(?:ce|mask|dice))(?:_(\d+))?$")
_NOT_SCALARS = ("step", "seconds")


class TensorBoard:
    """Writes rows of the history and a few annotated photos.

    Args:
        model_dir: What `tensorboard --logdir` is given.
        categories: The categories of the data set.
    """

    NUM_IMAGES = 4

    def __init__(self, model_dir: str, categories: CategoryTable):
        self._categories = categories
        self._model_dir = model_dir
        self._writers: dict[str, Any] = {}

    def write_row(self, row: Mapping[str, float]) -> None:
        """Writes the numbers of one row; a loss term of decoder layer 2 becomes `losses/loss_ce/layer_2`."""
        for name, value in row.items():
            if name in _NOT_SCALARS:
                continue
            with self._writer("validation" if is_score(name) else "train").as_default(step=int(row["step"])):
                tf.summary.scalar(tag_of(name), value)
        for writer in self._writers.values():
            writer.flush()

    def write_texts(self, texts: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes tables of names and values, such as the run's settings, each on a page of its own."""
        with self._writer("train").as_default(step=0):
            for name, values in texts.items():
                rows = "\n".join(f"| {key} | {value} |" for key, value in values.items())
                tf.summary.text(name, f"| name | value |\n| --- | --- |\n{rows}")

    def write_images(self, step: int, examples: Sequence[tuple[Any, Mapping[str, Any]]]) -> None:
        """Writes each photo with its truth and its prediction, side by side.

        Args:
            step: The step of the prediction.
            examples: `(record, answer)` as `evaluator.Evaluator` gives them.
        """
        with self._writer("validation").as_default(step=step):
            for record, answer in examples:
                photo = decode_image(record.image_encoded).numpy()
                truth_ids = panoptic_png.decode_panoptic_png(record.panoptic_png)
                sides = [self._draw(photo, truth_ids, record.segments)]
                sides.append(self._draw(photo, answer["segment_ids"], answer["segments"]))
                tf.summary.image(f"truth and prediction/{record.filename}", np.concatenate(sides, axis=1)[None])

    def _writer(self, name: str) -> Any:
        if name not in self._writers:
            self._writers[name] = tf.summary.create_file_writer(os.path.join(self._model_dir, name))
        return self._writers[name]

    def _draw(self, photo: np.ndarray, segment_ids: np.ndarray, segments: Sequence[Any]) -> np.ndarray:
        drawn = [DrawnSegment(id=segment.id, class_index=segment.class_index) for segment in segments]
        return np.asarray(draw_panoptic(photo, segment_ids, drawn, self._categories))


def tag_of(name: str) -> str:
    """Returns the tag under which a number of the history is shown."""
    layer = _LAYER.match(name)
    if layer:
        return f"losses/{layer[1]}/{'last_layer' if layer[2] is None else 'layer_' + layer[2]}"
    return f"quality/{name}" if is_score(name) else name
