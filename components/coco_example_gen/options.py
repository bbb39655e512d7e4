"""The options of an ingestion: one frozen value, checked when it is made."""

from __future__ import annotations

import dataclasses

from components.coco_example_gen.layouts.split_source import BACKGROUND, VOID
from components.coco_example_gen.layouts.split_words import TRAIN, VAL

TRAIN_SPLIT, EVAL_SPLIT = "train", "eval"
SPLITS = (TRAIN_SPLIT, EVAL_SPLIT)
AUTO_LAYOUT = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """The options: which photos become Examples, in how many files, and how many bad records are allowed.

    Attributes:
        max_train_images: How many train photos are taken, the first by file name; 0 takes all.
        max_eval_images: How many validation photos are taken, the first by file name; 0 takes all. It has no effect
            with `evaluate_on_train`.
        evaluate_on_train: Fill the eval split with the photos of the train split, to show that a model can overfit.
        max_kept_aside_share: The largest share of a split's records that may be skipped, 0..1, before it fails.
        num_shards: The number of record files per split, at most one per photo; 0 chooses one per 256 photos.
        layout: The layout of the data set's files, see `layouts`; "auto" finds it.
        things: The classes of label PNGs (layout "label_png") of which every connected region is an object.
        stuff: The classes of single objects ("coco_instances" and the like) that are stuff: the objects of such a class
            in a photo are one segment.
        unlabeled: What pixels without an object are in a `coco_instances` json: "background", where a predicted
            segment is false, or "void", where it is excused because only some objects are labelled.
        eval_share: The share of the train photos that are evaluated, 0..1, by a hash of the image id, see
            `drawn_split`. 0 takes the data set's own validation photos, or 0.2 of the train photos if it has none.
        span_pattern: Where the newest data is below the data folder, such as "span-{SPAN}", "span-{SPAN}/v{VERSION}" or
            "{YYYY}-{MM}-{DD}"; empty: the data folder holds the data itself.
        trust_manifest: Trust the data folder's `manifest.json`; the photos are not hashed to find out whether they have
            changed.

    Raises:
        ValueError: If a number is negative, a share is not in 0..1, or the options contradict each other.
    """

    max_train_images: int = 0
    max_eval_images: int = 0
    evaluate_on_train: bool = False
    max_kept_aside_share: float = 0.05
    num_shards: int = 0
    layout: str = AUTO_LAYOUT
    eval_share: float = 0.0
    things: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()
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
        if self.layout != AUTO_LAYOUT:
            require_layout(self.layout)
        if self.unlabeled not in (BACKGROUND, VOID):
            raise ValueError(f"`unlabeled` must be {BACKGROUND!r} or {VOID!r}. Received: {self.unlabeled!r}")
        if self.eval_share and self.evaluate_on_train:
            raise ValueError(
                f"`eval_share` must be 0 where `evaluate_on_train` says what is evaluated. Received: {self.eval_share}"
            )

    def folder(self, split: str) -> str:
        """Returns the split of the data set, "train" or "val", that a split of the Examples is made from.

        Raises:
            ValueError: if there is no such split.
        """
        return TRAIN if self._is_made_of_train(split) else VAL

    def max_images(self, split: str) -> int:
        """Returns how many photos of its folder a split takes; 0 takes all.

        Raises:
            ValueError: if there is no such split.
        """
        is_eval_photos = split == EVAL_SPLIT and not self.evaluate_on_train
        self._is_made_of_train(split)
        return self.max_eval_images if is_eval_photos else self.max_train_images

    def _is_made_of_train(self, split: str) -> bool:
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {SPLITS}. Received: {split!r}")
        return split == TRAIN_SPLIT or self.evaluate_on_train or self.eval_share > 0


def require_layout(name: str) -> None:
    """Compares a name with those of the layouts, which are read only where one is given.

    Raises:
        ValueError: if there is no such layout.
    """
    from components.coco_example_gen.layouts.find import LAYOUT_NAMES

    if name not in LAYOUT_NAMES:
        raise ValueError(f"`layout` must be {AUTO_LAYOUT!r} or one of {list(LAYOUT_NAMES)}. Received: {name!r}")
