"""How much each mended rule changes: the share of pixels with another label, on real photos, before and after.

The network is a small random one with a fixed seed: the figures say how far a rule reaches, not how good an answer is.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from benchmarks.training.padding import photo_share
from maskformer_model import experiments
from maskformer_model.config import InferenceConfig, ParserConfig
from maskformer_model.data import augmentation
from maskformer_model.data.aspect_ratio_groups import group_by_aspect_ratio
from maskformer_model.data.panoptic_png import decode_panoptic_png
from maskformer_model.data.preprocessing import decode_image, resized_size
from maskformer_model.inference.photo_inference import PhotoInference
from tests.maskformer_model.helpers.small_export import small_config, small_network

_NUM_CLASSES = 20
_VIEWS_PX = (256, 512, 896)

LabelMap = Callable[[tf.Tensor], np.ndarray]


def print_changes(data: pathlib.Path, num_photos: int) -> None:
    """Prints one row per rule.

    Args:
        data: A folder with `val2017/` and `annotations/panoptic_val2017.json` and its PNGs.
        num_photos: How many photos, in the order of their names.
    """
    paths = sorted((data / "val2017").glob("*.jpg"))[:num_photos]
    if not paths:
        raise FileNotFoundError(f"`data` must hold photos as val2017/*.jpg. Received: {data}")
    photos = [decode_image(path.read_bytes()) for path in paths]
    print(f"{len(photos)} photos of {data / 'val2017'}")
    for name, shares in _answers(photos):
        print(f"{name}: {np.mean(shares):.3%} of the pixels, {np.max(shares):.3%} of one photo's")
    maps = [_segment_map(data, path) for path in paths]
    _print_maps(maps)
    _print_targets(photos, maps)
    _print_padding(np.array([photo.shape[:2] for photo in photos]))


def _answers(photos: list[tf.Tensor]) -> Iterable[tuple[str, list[float]]]:
    """Rules that change a semantic answer: what is compared, and each photo's share of pixels with another class."""
    network = small_network(small_config(num_classes=_NUM_CLASSES))
    recipe = experiments.get("ade20k_semantic_r50").task.inference
    coco = experiments.get("maskformer_coco_panoptic").task.inference
    views = dataclasses.replace(recipe, augmented_edges_px=_VIEWS_PX)

    def label_map(config: InferenceConfig) -> LabelMap:
        answer = PhotoInference(network, config, [True] * _NUM_CLASSES).semantic
        return tf.function(answer, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)], autograph=False)

    def of_the_photo_itself(photo: tf.Tensor) -> np.ndarray:
        # A photo that is resized to its own size is not resized before its views are made.
        short, longest = sorted(photo.shape[:2])
        return label_map(dataclasses.replace(views, shortest_edge_px=short, max_size_px=longest))(photo)

    after, at_photo_size = label_map(recipe), label_map(dataclasses.replace(recipe, semantic_fusion_size="photo"))
    pairs = {
        "1 padding to 512 px -> to 32 px": (label_map(dataclasses.replace(recipe, size_divisibility=512)), after),
        "4 fused at the photo's size -> at the input's": (at_photo_size, after),
        "6 views of the photo -> of the resized photo": (of_the_photo_itself, label_map(views)),
        "7 converted with COCO's settings -> with ADE20K's": (label_map(coco), after),
    }
    for name, (before, then) in pairs.items():
        yield name, [float(np.mean(np.asarray(before(photo)) != np.asarray(then(photo)))) for photo in photos]


def _segment_map(data: pathlib.Path, path: pathlib.Path) -> np.ndarray:
    """`[height, width]` int32, the place of each pixel's segment in the file's list from 1, 0 for void."""
    png = (data / "annotations" / "panoptic_val2017" / f"{path.stem}.png").read_bytes()
    ids, numbers = np.unique(decode_panoptic_png(png), return_inverse=True)
    return (numbers.reshape(numbers.shape) + (ids[0] != 0)).astype(np.int32)


def _print_maps(maps: list[np.ndarray]) -> None:
    parser = experiments.get("ade20k_semantic_r50").task.train_data.parser
    shares = []
    for segment_map in maps:
        of_sizes = []
        for edge_px in parser.min_sizes_px:
            size_px = resized_size(*segment_map.shape, edge_px, parser.max_size_px)
            of_rules = [
                _resized(segment_map, size_px, nearest)
                for nearest in (augmentation.nearest_centers, augmentation.nearest_corners)
            ]
            of_sizes.append(np.mean(of_rules[0] != of_rules[1]))
        shares.append(np.mean(of_sizes))
    name = f"5 maps by Pillow's rule -> by PyTorch's, at {len(parser.min_sizes_px)} sizes"
    print(f"{name}: {np.mean(shares):.3%} of the pixels, {np.max(shares):.3%} of one photo's")


def _resized(segment_map: np.ndarray, size_px: tuple[int, int], nearest: augmentation.NearestPixels) -> np.ndarray:
    rows, columns = (np.asarray(nearest(old, new)) for old, new in zip(segment_map.shape, size_px, strict=True))
    return segment_map[rows][:, columns]


def _print_targets(photos: list[tf.Tensor], maps: list[np.ndarray]) -> None:
    parser: ParserConfig = experiments.get("ade20k_panoptic_r50").task.train_data.parser
    num_listed, num_shown, num_crops = 0, 0, 4
    for photo, segment_map in zip(photos, maps, strict=True):
        for seed in range(num_crops):
            pair = (photo, tf.constant(segment_map), parser, tf.constant([seed, 0], tf.int64))
            shown = np.unique(augmentation.augment(*pair)[1])
            num_listed += int(segment_map.max())
            num_shown += int(np.sum(shown > 0))
    print(
        f"2 targets of {num_crops} crops a photo: {num_shown} shown -> {num_listed} listed, "
        f"{1 - num_shown / num_listed:.1%} are kept with an empty mask; no pixel has another label"
    )


def _print_padding(sizes_px: np.ndarray) -> None:
    data = experiments.get("maskformer_coco_panoptic").task.train_data
    group = min(data.aspect_ratio_group_size, len(sizes_px))
    count = len(sizes_px) // group * group  # A batch of whole groups.
    parser, is_wide = data.parser, tf.constant(sizes_px[:, 1] > sizes_px[:, 0])
    resized = np.array([resized_size(*size, max(parser.min_sizes_px), parser.max_size_px) for size in sizes_px[:count]])
    photos = tf.data.Dataset.range(count)
    order = list(group_by_aspect_ratio(photos, group, count, lambda index: is_wide[index]).as_numpy_iterator())
    before, after = photo_share(resized, count), photo_share(resized[order], group)
    print(
        f"3 padding of one batch of {count}, together -> in groups of {group} of one orientation: {before:.1%} -> "
        f"{after:.1%} of the batch are photo; no pixel has another label"
    )
