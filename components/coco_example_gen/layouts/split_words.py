"""Tells which split a file belongs to by its name, and where a photo falls when a split is drawn."""

from __future__ import annotations

import hashlib
import re

TRAIN, VAL, TEST = "train", "val", "test"

_WORDS = {
    TRAIN: re.compile(r"(train|training|trainset|trn)\d*"),
    VAL: re.compile(r"(val|valid|validation|dev|eval)\d*"),
    TEST: re.compile(r"(test|testing|testset)\d*"),
}


def split_of(path: str) -> str:
    """Returns the split that a path names: "train", "val", "test" or "". Of several words the last one counts."""
    found = ""
    for word in re.split(r"[^a-z0-9]+", path.lower()):
        # Glued words too, as in `trainannot`.
        stem = re.sub(r"(annot|annotations|labels|masks|images|imgs)$", "", word) or word
        found = next((split for split, pattern in _WORDS.items() if pattern.fullmatch(stem)), found)
    return found


def hash_share(image_id: str) -> float:
    """Returns a number in [0, 1) that depends on a photo's id alone."""
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "big") / 2**64
