"""Computes facts about the training photos in a full pass with tf.Transform: classes, pixel statistics, sizes.

TFX's Transform node calls `preprocessing_fn` with `materialize=False`: Beam adds up scalars and short lists that
CocoExampleGen has written, no photo is decoded again and no pixel stored. `read_facts` reads the sums out of the
transform graph; they travel with the model as `data_facts.json`.
"""

from __future__ import annotations

from typing import Any

from maskformer_model.categories import CategoryTable

MAX_CLASSES = 1024
QUANTILE_BUCKETS = 10
_EDGES = ("shorter_edge_px", "longer_edge_px")
_PREFIX = "fact_"


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Sums the facts; the hook that TFX's Transform calls.

    Args:
        inputs: the Examples' features as the schema types them, a batch at a time.
        custom_config: not used; TFX passes what the node's cache watches.

    Returns:
        Each fact, repeated for every row, because tf.Transform knows no results but features.
    """
    import tensorflow as tf
    import tensorflow_transform as tft

    height, width = (tf.reshape(inputs[f"image/{name}"], [-1]) for name in ("height", "width"))
    num_rows = tf.shape(height)[0]
    classes = inputs["image/segment/class_index"]
    check = tf.debugging.assert_less(classes.values, tf.constant(MAX_CLASSES, tf.int64))
    with tf.control_dependencies([check]):
        cells = classes.indices[:, 0] * MAX_CLASSES + classes.values

    def per_class(values: Any) -> Any:
        sums = tf.math.unsorted_segment_sum(values, cells, tf.cast(num_rows, tf.int64) * MAX_CLASSES)
        return tft.sum(tf.reshape(sums, [-1, MAX_CLASSES]), reduce_instance_dims=False)

    def per_channel(name: str) -> Any:
        return tft.sum(tf.reshape(tf.sparse.to_dense(inputs[name]), [-1, 3]), reduce_instance_dims=False)

    area, iscrowd = inputs["image/segment/area"].values, inputs["image/segment/iscrowd"].values
    edges = tf.minimum(height, width), tf.maximum(height, width)
    facts = {
        "num_photos": tft.sum(tf.ones_like(height)),
        "num_pixels": tft.sum(height * width),
        "segments": per_class(tf.ones_like(area)),
        "pixels": per_class(area),
        "crowd_segments": per_class(iscrowd),
        "crowd_pixels": per_class(iscrowd * area),
        "channel_sum": per_channel("image/channel_sum"),
        "channel_square_sum": per_channel("image/channel_square_sum"),
    }
    for name, edge in zip(_EDGES, edges, strict=True):
        facts[name] = tf.concat(
            [
                [tf.cast(tft.min(edge), tf.float32)],
                tf.reshape(tft.quantiles(tf.cast(edge, tf.float32), QUANTILE_BUCKETS, epsilon=0.001), [-1]),
                [tf.cast(tft.max(edge), tf.float32)],
            ],
            axis=0,
        )
    return {_PREFIX + name: tf.repeat(tf.reshape(fact, [1, -1]), num_rows, axis=0) for name, fact in facts.items()}


def read_facts(transform_graph_uri: str, categories: CategoryTable) -> dict[str, Any]:
    """Reads the facts that Transform has found.

    Args:
        transform_graph_uri: The path of Transform's output.
        categories: The categories of the data set.

    Returns:
        What is written as json: `num_photos`, `num_pixels`, `void_share`, `crowd_share` (of the pixels);
        `classes`, a list with name, `category_id`, `segments`, `pixels`, `crowd_segments` and the shares of both;
        `channel_mean` and `channel_std` of red, green and blue in 0..255; `size_quantiles`, the edges' deciles in px
        with the smallest and the largest.
    """
    return describe(_raw_facts(transform_graph_uri), categories)


def describe(sums: dict[str, list[int | float]], categories: CategoryTable) -> dict[str, Any]:
    """Returns the facts from the sums of `preprocessing_fn`.

    Raises:
        ValueError: if there are segments of classes that the data set does not have.
    """
    num_classes = categories.num_classes
    if any(sums["segments"][num_classes:]):
        raise ValueError(
            f"Class indices must be below {num_classes}. Received others in {sum(sums['segments'])} segments"
        )
    [num_photos], [num_pixels] = sums["num_photos"], sums["num_pixels"]
    num_segments, num_labelled = sum(sums["segments"]), sum(sums["pixels"])
    classes = [
        {
            "name": categories.names[index],
            "category_id": int(category.id),
            "isthing": category.isthing,
            "segments": sums["segments"][index],
            "pixels": sums["pixels"][index],
            "crowd_segments": sums["crowd_segments"][index],
            "segment_share": _share(sums["segments"][index], num_segments),
            "pixel_share": _share(sums["pixels"][index], num_labelled),
        }
        for index, category in enumerate(categories.categories)
    ]
    means = [_share(total, num_pixels) for total in sums["channel_sum"]]
    variances = [
        _share(squares, num_pixels) - mean**2 for squares, mean in zip(sums["channel_square_sum"], means, strict=True)
    ]
    return {
        "num_photos": num_photos,
        "num_pixels": num_pixels,
        "num_segments": num_segments,
        "void_share": 1 - _share(num_labelled, num_pixels),
        "crowd_share": _share(sum(sums["crowd_pixels"]), num_pixels),
        "classes": classes,
        "channel_mean": means,
        "channel_std": [max(variance, 0.0) ** 0.5 for variance in variances],
        "size_quantiles": {name: sums[name] for name in _EDGES},
    }


def _share(part: int | float, whole: int | float) -> float:
    return part / whole if whole else 0.0


def _raw_facts(transform_graph_uri: str) -> dict[str, list[int | float]]:
    import tensorflow as tf
    import tensorflow_transform as tft

    output = tft.TFTransformOutput(transform_graph_uri)
    spec = output.raw_feature_spec()
    # The facts are constants of the graph, which gives the same for every Example: one of zeros will do.
    zeros = tf.train.Example()
    for name, feature in spec.items():
        if isinstance(feature, tf.io.FixedLenFeature):
            lists = zeros.features.feature[name]
            (lists.float_list if feature.dtype.is_floating else lists.int64_list).value.append(0)
    parsed = tf.io.parse_example([zeros.SerializeToString()], spec)
    transformed = output.transform_raw_features(parsed)
    return {
        name.removeprefix(_PREFIX): values.numpy()[0].tolist()
        for name, values in transformed.items()
        if name.startswith(_PREFIX)
    }
