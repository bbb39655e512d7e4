"""What an ingestion is told besides where the data is: one frozen value, checked at birth."""

from __future__ import annotations

import dataclasses

TRAIN_SPLIT, EVAL_SPLIT = "train", "eval"
SPLITS = (TRAIN_SPLIT, EVAL_SPLIT)
_TRAIN_FOLDER, _VAL_FOLDER = "train2017", "val2017"


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """Which photos become Examples, in how many files, and how many bad records are borne.

    Attributes:
        max_train_images: the first so many train photos by file name; 0 takes all.
        max_eval_images: the first so many validation photos by file name; 0 takes all. Without effect where
            `evaluate_on_train` says which photos are evaluated.
        evaluate_on_train: the eval split holds the photos of the train split: shows that a model can overfit them.
        max_kept_aside_share: the ingestion fails where a larger share of a split's records, 0..1, is kept aside.
        num_shards: record files per split, at most one per photo; 0 chooses one per 256 photos.

    Raises:
        ValueError: if a number is negative or a share is not in 0..1.
    """

    max_train_images: int = 0
    max_eval_images: int = 0
    evaluate_on_train: bool = False
    max_kept_aside_share: float = 0.05
    num_shards: int = 0

    def __post_init__(self):
        for name in ("max_train_images", "max_eval_images", "num_shards"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative. Received: {getattr(self, name)}")
        if not 0 <= self.max_kept_aside_share <= 1:
            raise ValueError(f"`max_kept_aside_share` must be in 0..1. Received: {self.max_kept_aside_share}")

    def folder(self, split: str) -> str:
        """The data set's folder that a split is made of.

        Raises:
            ValueError: if there is no such split.
        """
        return _TRAIN_FOLDER if self._is_made_of_train(split) else _VAL_FOLDER

    def max_images(self, split: str) -> int:
        """The first so many photos of its folder that a split is made of; 0 takes all.

        Raises:
            ValueError: if there is no such split.
        """
        return self.max_train_images if self._is_made_of_train(split) else self.max_eval_images

    def _is_made_of_train(self, split: str) -> bool:
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {SPLITS}. Received: {split!r}")
        return split == TRAIN_SPLIT or self.evaluate_on_train
