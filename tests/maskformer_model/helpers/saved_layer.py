"""Weights of one layer through a file into another."""

from __future__ import annotations

import pathlib

import keras


class _Holder(keras.Model):
    def __init__(self, layer: keras.layers.Layer):
        super().__init__()
        self.layer = layer
        self.built = True


def copy_through_file(layer: keras.layers.Layer, other: keras.layers.Layer, folder: pathlib.Path) -> None:
    """Saves the weights of a built layer and loads them into another one of the same kind."""
    _Holder(layer).save_weights(folder / "copied.weights.h5")
    _Holder(other).load_weights(folder / "copied.weights.h5")
