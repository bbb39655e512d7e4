"""The evaluation of an EoMT's golden folder: raw photos to panoptic or semantic maps, without attention masks."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import tensorflow as tf

from maskformer_model.config import InferenceConfig
from maskformer_model.data.normalization import normalize
from maskformer_model.inference import semantic_windows
from maskformer_model.inference.photo_inference import PhotoInference
from tests.parity.golden_folder import GoldenFolder
from tests.parity.measurement import Arrays

_LARGEST_DIFFERENCE = 1  # Grey levels by which a resized photo may be off Pillow's (`preprocessing.resize_image`).


def answers(network: Any, folder: GoldenFolder) -> tuple[Arrays, Arrays]:
    """Returns the network's logits of the officially prepared photos, and maps, by official names.

    Label maps start from the officially prepared photos too, since a grey level can turn a pixel's label. How ours are
    prepared is a map of its own, in which a value that is one level off counts as equal.
    """
    inputs = np.load(folder.path / "inputs.npz")
    raw = {int(name.rpartition("_")[2]): inputs[name] for name in inputs.files if name.startswith("eval_image_")}
    prepared = {name for name, value in folder.outputs.items() if name.startswith("eval_") and value.dtype == np.uint8}
    if not raw or len(prepared) != 1:
        return {}, {}
    name = prepared.pop()
    seen = np.ascontiguousarray(folder.outputs[name].transpose(0, 2, 3, 1))
    outputs = network(normalize(seen), training=False)
    logits = {
        key: np.asarray(outputs["mask_logits" if "masks" in key else "class_logits"])
        for key in folder.outputs
        if re.match(r"eval_\w*(masks|logits)$", key)
    }
    make = _semantic_maps if folder.settings["task"] == "semantic" else _panoptic_maps
    ours, maps = make(network, folder, raw, seen)
    official = folder.outputs[name].astype(np.int32)
    ours = ours.transpose(0, 3, 1, 2).astype(np.int32)
    if ours.shape == official.shape:
        ours = np.where(np.abs(ours - official) <= _LARGEST_DIFFERENCE, official, ours)
    return logits, {name: ours, **maps}


def _panoptic_maps(network: Any, folder: GoldenFolder, raw: dict[int, Any], seen: Any) -> tuple[Any, Arrays]:
    """Class and segment of every pixel; void is (number of classes, -1)."""
    settings, num_classes = folder.settings, network.config.num_classes
    edge_px = settings["network"]["img_size"][0]
    thresholds = settings["evaluation"]["mask_thresh"], settings["evaluation"]["overlap_thresh"]
    config = InferenceConfig(
        pixel_threshold=0.5,
        shortest_edge_px=edge_px,
        max_size_px=edge_px,
        size_divisibility=edge_px,
        pads_with_black=True,
    )
    stuff = settings.get("stuff_classes", [])
    inference = PhotoInference(network, config, tf.constant([index not in stuff for index in range(num_classes)]))
    own = {photo: inference.prepare(tf.constant(image)) for photo, image in raw.items()}
    valid_sizes_px = tf.stack([valid_size_px for _, valid_size_px in own.values()])
    photo_sizes_px = tf.constant([image.shape[:2] for image in raw.values()])
    proposals_at = inference.propose_all(tf.constant(seen), valid_sizes_px, photo_sizes_px)
    maps = {}
    for place, photo in enumerate(raw):
        answer = inference.panoptic_of(proposals_at(place), *thresholds)
        segment = np.asarray(answer["segment_map"]) - 1
        classes = np.append(np.asarray(answer["segment_classes"]), num_classes)  # The last one is void's.
        maps[f"eval_panoptic_class_{photo}"] = classes[segment]
        maps[f"eval_panoptic_segment_{photo}"] = segment
    return np.stack([padded for padded, _ in own.values()]), maps


def _semantic_maps(network: Any, folder: GoldenFolder, raw: dict[int, Any], seen: Any) -> tuple[Any, Arrays]:
    """The class of every pixel, from windows; the folder's windows take the place of ours, in their order."""
    edge_px = folder.settings["network"]["img_size"][0]
    names = {
        photo: [name for name in folder.outputs if re.fullmatch(rf"eval_\w*(semantic|argmax)\w*_{photo}", name)]
        for photo in raw
    }
    ours, maps, place = [], {}, 0

    def network_on_official(image):
        nonlocal place
        ours.append(image)
        place += 1
        return network(normalize(seen[place - 1][None]), training=False)

    for photo, image in raw.items():
        labels = np.asarray(semantic_windows.class_map(network_on_official, tf.constant(image), edge_px))
        maps |= dict.fromkeys(names[photo], labels)
    pixels = np.concatenate([np.asarray(_pixels(image)) for image in ours])
    return pixels, maps


def _pixels(normalized: Any) -> Any:
    """Undoes `normalize`."""
    from maskformer_model.data.normalization import PIXEL_MEAN_RGB, PIXEL_STD_RGB

    return tf.round(normalized * PIXEL_STD_RGB + PIXEL_MEAN_RGB)
