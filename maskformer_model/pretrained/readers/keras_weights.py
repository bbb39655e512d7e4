"""Writes and reads a network's `model.weights.h5`, whole or not at all."""

from __future__ import annotations

import os
from typing import Any

from maskformer_model.pretrained.readers.whole_file import require_whole_file

_PART = ".part.weights.h5"  # Keras asks for this ending.


def save_weights(network: Any, path: str) -> None:
    """Writes the weights under another name and renames them, so that a full disk or a kill leaves no half of them.

    Args:
        network: A built network.
        path: Ends in `.weights.h5`.

    Raises:
        OSError: if it cannot be written.
    """
    if "://" in path:
        network.save_weights(path)  # Keras writes a local file first and copies it.
        return
    part = path.removesuffix(".weights.h5") + _PART
    try:
        network.save_weights(part)
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.remove(part)
        raise


def load_weights(network: Any, path: str) -> None:
    """Reads weights into a network of the same architecture.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, is of another network, or announces more numbers than it holds.
    """
    if "://" not in path:
        require_whole_file(path)
        _require_plausible(path)
    try:
        network.load_weights(path)
    except (OSError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} does not hold the weights of this network: {_first_line(error)}") from error


def _require_plausible(path: str) -> None:
    """Keras does not compress, so a file that announces more than its own size was made to fill the memory."""
    import h5py

    announced = 0

    def add(_name: str, item: Any) -> None:
        nonlocal announced
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"{path} refers to other files and is not read.")
            announced += item.nbytes

    try:
        with h5py.File(path, "r") as file:
            file.visititems(add)
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} is damaged or cut off: {_first_line(error)}. Copy it again") from error
    size = os.path.getsize(path)
    if announced > size:
        raise ValueError(f"{path} announces {announced} bytes of weights and has {size}.")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".") or type(error).__name__
