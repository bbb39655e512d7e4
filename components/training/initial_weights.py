"""Digests the weights that a training starts from, so that the cache sees when their content changes."""

from __future__ import annotations

import hashlib
import os
import posixpath

from maskformer_model.config.files import CATEGORIES_FILE, EXPERIMENT_FILE, WEIGHTS_FILE

_OF_FINISHED_RUN = (WEIGHTS_FILE, EXPERIMENT_FILE, CATEGORIES_FILE)


def initial_weights_digest(source: str) -> str:
    """Returns the SHA-256, hexadecimal, of everything that `task.init_checkpoint` names.

    Args:
        source: A file, a folder (a training run, a Hugging Face model with its parts), a TensorFlow checkpoint's path
            without suffix, or the name of a data package. Of a finished run only what is read counts, of any other
            folder every file that lies directly in it.

    Returns:
        An empty string if there is nothing at `source`, which is what the Trainer then says.
    """
    paths = _files_of(source)
    if not paths:
        return ""
    from components.coco_example_gen.data_manifest import file_sha256

    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{posixpath.basename(path)}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()


def _files_of(source: str) -> list[str]:
    if not source:
        return []
    import tensorflow as tf

    from maskformer_model.pretrained import efficientnet_weights

    if source == efficientnet_weights.PACKAGE:
        try:
            return [efficientnet_weights.imagenet_weights_path()]
        except ModuleNotFoundError:
            return []
    if tf.io.gfile.isdir(source):
        names = sorted(name for name in tf.io.gfile.listdir(source) if not name.endswith("/"))
        read = [name for name in _OF_FINISHED_RUN if name in names] if WEIGHTS_FILE in names else names
        paths = [os.path.join(source, name) for name in read]
        return [path for path in paths if not tf.io.gfile.isdir(path)]
    if tf.io.gfile.exists(source):
        return [source]
    folder, name = os.path.split(source)
    if not tf.io.gfile.exists(f"{source}.index"):
        return []
    return sorted(os.path.join(folder, each) for each in tf.io.gfile.listdir(folder) if each.startswith(f"{name}."))
