"""What an ingestion is told besides where the data is: one frozen value, checked at birth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """Which photos become Examples, in how many files, and how many bad records are borne.

    Attributes:
        max_train_images: the first so many train photos by file name; 0 takes all.
        max_eval_images: the first so many validation photos by file name; 0 takes all.
        evaluate_on_train: the eval split holds the photos of the train split: shows that a model can overfit them.
        max_kept_aside_share: the ingestion fails where a larger share of a split's records, 0..1, is kept aside.
        num_shards: files per split, at most one per photo; 0 chooses one per 256 photos.

    Raises:
        ValueError: if a number is negative, a share is not in 0..1, or both `evaluate_on_train` and `max_eval_images`
            say which photos are evaluated.
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
        if self.evaluate_on_train and self.max_eval_images:
            raise ValueError(
                "`max_eval_images` must be 0 with `evaluate_on_train`, whose eval split is the train split. "
                f"Received: {self.max_eval_images}"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> IngestOptions:
        """Restores the options from a mapping whose numbers may have become floats, as in a protobuf Struct.

        Raises:
            TypeError: if a name is unknown.
        """
        kinds = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        return cls(**{name: kinds.get(name, type(value))(value) for name, value in values.items()})
