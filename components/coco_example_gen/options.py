"""The options of an ingestion: one frozen value, checked when it is made."""

from __future__ import annotations

import dataclasses

from components.coco_example_gen.layouts.find import LAYOUT_NAMES
from components.coco_example_gen.layouts.published import TRAIN, VAL
from components.coco_example_gen.layouts.split_source import BACKGROUND, VOID
from components.coco_example_gen.layouts.split_words import hash_share

TRAIN_SPLIT, EVAL_SPLIT = "train", "eval"
SPLITS = (TRAIN_SPLIT, EVAL_SPLIT)
AUTO_LAYOUT = "auto"


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
        layout: how the data set's files are laid out, see `layouts`; "auto" looks.
        things: label PNGs (layout "label_png"): classes of which every connected region is an object.
        unlabeled: of a `coco_instances` json: pixels that no object covers are "background", where a predicted segment
            is false, or "void", where it is excused because only some objects are labelled.
        eval_share: 0 takes the data set's own validation photos, or 0.2 of the train photos where it has none; a share
            in 0..1 takes that share of its train photos instead, by a hash of the image id, so that a photo stays on
            its side when others come or go.
        span_pattern: where below the data folder the newest data is, such as "span-{SPAN}", "span-{SPAN}/v{VERSION}"
            or "{YYYY}-{MM}-{DD}"; empty: the data folder holds the data itself.
        trust_manifest: the data folder's `manifest.json` says what the photos hold; they are not hashed to find out
            whether they have changed.

    Raises:
        ValueError: if a number is negative, a share is not in 0..1, or the options contradict each other.
    """

    max_train_images: int = 0
    max_eval_images: int = 0
    evaluate_on_train: bool = False
    max_kept_aside_share: float = 0.05
    num_shards: int = 0
    layout: str = AUTO_LAYOUT
    eval_share: float = 0.0
    things: tuple[str, ...] = ()
    unlabeled: str = BACKGROUND
    span_pattern: str = ""
    trust_manifest: bool = False

    def __post_init__(self):
        for name in ("max_train_images", "max_eval_images", "num_shards"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative. Received: {getattr(self, name)}")
        for name in ("max_kept_aside_share", "eval_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be in 0..1. Received: {getattr(self, name)}")
        if self.layout not in (AUTO_LAYOUT, *LAYOUT_NAMES):
            raise ValueError(
                f"`layout` must be {AUTO_LAYOUT!r} or one of {list(LAYOUT_NAMES)}. Received: {self.layout!r}"
            )
        if self.unlabeled not in (BACKGROUND, VOID):
            raise ValueError(f"`unlabeled` must be {BACKGROUND!r} or {VOID!r}. Received: {self.unlabeled!r}")
        if self.eval_share and self.evaluate_on_train:
            raise ValueError(
                f"`eval_share` must be 0 where `evaluate_on_train` says what is evaluated. Received: {self.eval_share}"
            )

    def folder(self, split: str) -> str:
        """Which split of the data set, "train" or "val", a split of the Examples is made of.

        Raises:
            ValueError: if there is no such split.
        """
        return TRAIN if self._is_made_of_train(split) else VAL

    def max_images(self, split: str) -> int:
        """The first so many photos of its folder that a split is made of; 0 takes all.

        Raises:
            ValueError: if there is no such split.
        """
        is_eval_photos = split == EVAL_SPLIT and not self.evaluate_on_train
        self._is_made_of_train(split)
        return self.max_eval_images if is_eval_photos else self.max_train_images

    def takes(self, split: str, image_id: str) -> bool:
        """Whether a photo of the split's folder belongs to the split."""
        if not self.eval_share:
            return True
        return (hash_share(image_id) < self.eval_share) == (split == EVAL_SPLIT)

    def _is_made_of_train(self, split: str) -> bool:
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {SPLITS}. Received: {split!r}")
        return split == TRAIN_SPLIT or self.evaluate_on_train or self.eval_share > 0
