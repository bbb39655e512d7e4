"""Loads a SavedModel and sends it photos: `python -m components.infra_validator.check_model --model DIR --photos ...`.

A process of its own, as a server would be: a model that crashes, hangs or needs too much memory takes nobody with it.
What is asked is whether the model can serve, not whether it is good. Exit status: 0, or 1 with the reason in one line
on standard error.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

_NO_PHOTO = b"This is no photo."


def check(model_dir: str, photos: Sequence[bytes]) -> None:
    """Asks for every photo's answer, alone and then all in one batch, and for the refusal of what is no photo.

    Raises:
        ValueError: saying what is wrong with an answer.
    """
    import tensorflow as tf

    from components.panoptic_predictor.serving_model import ServingModel
    from maskformer_model.data.preprocessing import image_size

    if not photos:
        raise ValueError("`photos` must hold at least one photo.")
    model = ServingModel(model_dir)
    alone = [model.predict([photo])[0] for photo in photos]
    for index, (photo, result) in enumerate(zip(photos, alone, strict=True)):
        _check_answer(f"Photo {index}", result, tuple(image_size(tf.constant(photo)).numpy().tolist()))
    together = model.predict(photos)
    if [result.panoptic_png for result in together] != [result.panoptic_png for result in alone]:
        raise ValueError("A batch must hold what its photos get alone, and it does not.")
    try:
        model.predict([photos[0], _NO_PHOTO])
    except tf.errors.InvalidArgumentError:
        return
    raise ValueError(f"A model must refuse what is no photo. It answered {_NO_PHOTO!r}")


def _check_answer(name: str, result, size_px: tuple[int, int]) -> None:
    from maskformer_model.data.panoptic_png import decode_panoptic_png, segment_extents

    ids, areas, _ = segment_extents(segment_map := decode_panoptic_png(result.panoptic_png))
    if segment_map.shape != size_px:
        raise ValueError(f"{name}: the map must have the photo's size {size_px}. Received: {segment_map.shape}")
    listed = {segment.id: segment.area for segment in result.segments}
    shown = dict(zip(ids.tolist(), areas.tolist(), strict=True))
    if listed != shown:
        raise ValueError(f"{name}: segments and their areas must be those of the map: {listed} is not {shown}")
    scores = [segment.score for segment in result.segments]
    if not all(0 <= score <= 1 for score in scores):
        raise ValueError(f"{name}: scores must be in 0..1. Received: {scores}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m components.infra_validator.check_model", description="Checks that a SavedModel answers photos."
    )
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--photos", required=True, nargs="+", type=pathlib.Path, metavar="FILE")
    args = parser.parse_args(argv)
    try:
        check(args.model, [path.read_bytes() for path in args.photos])
    except Exception as error:  # Whatever it is, it is the answer to what was asked.
        print(f"{type(error).__name__}: {error}".replace("\n", " "), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
