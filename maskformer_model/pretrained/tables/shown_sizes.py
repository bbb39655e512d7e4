"""Sizes that a checkpoint's arrays show, and whether a network of such sizes can belong to the file.

An array of shape (1, 2^30) and one of shape (2^30, 1) are small files, and a network with a matrix of both is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]


def shape_of(arrays: Arrays, name: str) -> tuple[int, ...]:
    """Returns the shape of an array.

    Raises:
        ValueError: if there is none of that name, or it is empty.
    """
    if name not in arrays:
        raise ValueError(f"A checkpoint must hold `{name}`.")
    if not arrays[name].size:
        raise ValueError(f"`{name}` must not be empty. Received the shape: {arrays[name].shape}")
    return arrays[name].shape


def count_of(arrays: Arrays, pattern: str) -> int:
    """Returns one more than the largest number that the pattern's group takes among the names; 0 without any.

    Raises:
        ValueError: if there are fewer arrays than that.
    """
    matches = (re.match(pattern, name) for name in arrays)
    count = max((int(match[1]) + 1 for match in matches if match), default=0)
    if count > len(arrays):
        raise ValueError(f"A checkpoint of {len(arrays)} arrays must not number a layer {count - 1}.")
    return count


def require_matrices(arrays: Arrays, sides: Iterable[tuple[str, int, int]]) -> None:
    """Refuses sizes whose matrices would be larger than the whole checkpoint.

    Args:
        arrays: Name -> array.
        sides: For each matrix of the network what it is, its rows and its columns.

    Raises:
        ValueError: at the first that is too large.
    """
    total = sum(array.size for array in arrays.values())
    for name, rows, columns in sides:
        if rows * columns > total:
            raise ValueError(
                f"A checkpoint of {total} numbers must not be of a network with {name} of {rows} x {columns} numbers."
            )
