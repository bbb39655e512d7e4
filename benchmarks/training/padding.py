"""Batches of COCO photos before and after grouping by aspect ratio: how much of them is photo and not padding.

Sizes, augmentation and batches of 64 are those of `maskformer_coco_panoptic`: photos of 480 to 800 px, padded to the
largest one of a batch, or in groups of two to the larger one of the two, as each replica or part does.

Needs the folder `shared` beside the checkout (160 photos of COCO).
"""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks.row import Row, main

COCO_DIR = pathlib.Path(__file__).resolve().parents[3] / "shared/data/coco_panoptic"
GROUP, BATCH, NUM_BATCHES = 2, 64, 5


def measure() -> Iterator[Row]:
    """Yields the share of photo pixels, grouped and not."""
    import numpy as np

    from maskformer_model.training import batches
    from tests.maskformer_model.helpers import tiny_run

    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{split}.tfrecord" for split in ("train", "val")]
        for split, path in zip(("train2017", "val2017"), paths, strict=True):
            tiny_run.write_split(COCO_DIR, split, pathlib.Path(path))
        shares = []
        for group in (0, GROUP):
            data = batches.training_data(_config(group), paths).take(NUM_BATCHES)
            sizes_px = np.concatenate([x["valid_size_px"] for x, _ in data.as_numpy_iterator()])
            shares.append(photo_share(sizes_px, group or BATCH))
    yield Row(
        name=f"share of photo in batches of {BATCH} COCO photos, in groups of {GROUP}",
        ours=shares[1],
        unit="of the pixels",
        peer=shares[0],
        peer_name="not grouped",
        remark=f"{NUM_BATCHES} batches",
    )


def photo_share(valid_size_px: Any, group_size: int) -> float:
    """Returns the share of pixels that are photo, not padding, if each group is padded to its own largest photo.

    Args:
        valid_size_px: `[photos, 2]`, height and width, in the order of the stream.
        group_size: Photos that are padded together; divides their number.
    """
    sizes = valid_size_px.reshape(-1, group_size, 2).astype(float)
    return sizes.prod(axis=2).sum() / (group_size * sizes.max(axis=1).prod(axis=1).sum())


def _config(group_size: int) -> Any:
    from maskformer_model import experiments
    from maskformer_model.config import override

    return override(
        experiments.get("maskformer_coco_panoptic"),
        f"task.train_data.global_batch_size={BATCH},task.train_data.aspect_ratio_group_size={group_size}",
    )


if __name__ == "__main__":
    main(measure)
