"""Compares post-processing with the official code's: `python -m tests.parity_postprocess FOLDER`.

The folder has the golden `postprocess/` layout: `postprocess.npz` with `class_logits_n`, `mask_logits_n`, `size_hw_n`,
`panoptic_n` and `semantic_argmax_n` for each photo n, `postprocess.json` with the thresholds and each photo's
`segments_info` (class indices as `category_id`), which also say what is a thing.

A folder of Mask2Former (`m2f_postprocess/`) also has `padded_size_hw_n`, `image_size_hw_n`, `semantic_model_argmax_n`,
`instance_scores_n`, `instance_classes_n` and packed `instance_masks_n`, and in its JSON `thing_classes` and
`detections_per_image`. Its panoptic rule is Mask2Former's.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys

MAX_SCORE_DIFFERENCE = 1e-5
_SIZES = {"padded": "padded", "valid": "image"}  # Our name of a size -> the folder's.


def main(arguments: list[str] | None = None) -> int:
    """Prints one row per photo; returns 0 if every photo passes."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity_postprocess", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="holds postprocess.npz and postprocess.json")
    folder = parser.parse_args(arguments).folder
    for name in ("postprocess.npz", "postprocess.json"):
        if not (folder / name).is_file():
            parser.error(f"`folder` must hold {name}. Received: {folder}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # The rows are the output, not TensorFlow's greetings.
    rows = compare_folder(folder)
    print("pixels that differ from the official ones:")
    print(f"{'photo':>5} {'size':>10} {'panoptic':>9} {'segments_info':>14} {'semantic':>9} {'instances':>10}  result")
    for row in rows:
        info = "equal" if row["segments_info_equal"] else "DIFFERENT"
        verdict = "pass" if row["passed"] else "FAIL"
        print(
            f"{row['photo']:>5} {row['size']:>10} {row['panoptic']:9} {info:>14} {row['semantic']:9} "
            f"{row['instances']:>10}  {verdict}"
        )
    failed = sum(not row["passed"] for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} photos are equal in every pixel")
    return int(failed > 0 or not rows)


def compare_folder(folder: pathlib.Path) -> list[dict]:
    """One dict per photo: photo, size, differing panoptic and semantic pixels, segments_info_equal, passed."""
    import numpy as np  # Late, like Keras below, so that `--help` answers at once.

    settings = json.loads((folder / "postprocess.json").read_text(encoding="utf-8"))
    with np.load(folder / "postprocess.npz") as arrays:
        photos = sorted(int(name.rsplit("_", 1)[1]) for name in arrays.files if name.startswith("class_logits_"))
        num_classes = arrays[f"class_logits_{photos[0]}"].shape[1] - 1
        if "thing_classes" in settings:
            isthing = [index in set(settings["thing_classes"]) for index in range(num_classes)]
        else:
            isthing = _isthing(settings["segments_info"], num_classes)
        return [_compare_photo(arrays, photo, settings, isthing) for photo in photos]


def _isthing(segments_info: dict[str, list[dict]], num_classes: int) -> list[bool]:
    """Per class, from the expected segments; a class that no photo shows decides nothing."""
    isthing = [True] * num_classes
    for segments in segments_info.values():
        for segment in segments:
            isthing[segment["category_id"]] = bool(segment["isthing"])
    return isthing


def _compare_photo(arrays, photo: int, settings: dict, isthing: list[bool]) -> dict:
    from keras import ops

    from maskformer_model.inference import postprocessing

    class_logits = ops.convert_to_tensor(arrays[f"class_logits_{photo}"])
    height_px, width_px = (int(size) for size in arrays[f"size_hw_{photo}"])
    mask_logits = ops.convert_to_tensor(arrays[f"mask_logits_{photo}"])
    small_masks = mask_logits
    is_mask2former = "detections_per_image" in settings
    sizes = {}
    if is_mask2former:
        sizes = {f"{name}_size_px": arrays[f"{key}_size_hw_{photo}"].tolist() for name, key in _SIZES.items()}
    mask_logits = postprocessing.resize_logits(small_masks, (height_px, width_px), **sizes)
    thresholds = settings["object_mask_threshold"], settings["overlap_threshold"], 0.5 if is_mask2former else 0.0
    answer = postprocessing.panoptic_inference(class_logits, mask_logits, isthing, *thresholds)
    classes = ops.convert_to_numpy(answer["segment_classes"])[: int(answer["num_segments"])].tolist()
    segments_info = [{"id": i, "isthing": isthing[c], "category_id": c} for i, c in enumerate(classes, 1)]
    labels = postprocessing.semantic_map(postprocessing.semantic_inference(class_logits, mask_logits))
    panoptic = int((ops.convert_to_numpy(answer["segment_map"]) != arrays[f"panoptic_{photo}"]).sum())
    semantic = int((ops.convert_to_numpy(labels) != arrays[f"semantic_argmax_{photo}"]).sum())
    if is_mask2former:
        semantic += _semantic_model_difference(arrays, photo, class_logits, small_masks, sizes)
    equal = segments_info == settings["segments_info"][str(photo)]
    instances = "-"
    if is_mask2former:
        found = postprocessing.instance_inference(
            class_logits, mask_logits, isthing=isthing, max_instances=settings["detections_per_image"]
        )
        instances = "equal" if _instances_equal(arrays, photo, found, settings["detections_per_image"]) else "DIFFERENT"
    return {
        "photo": photo,
        "size": f"{height_px}x{width_px}",
        "panoptic": panoptic,
        "segments_info_equal": equal,
        "semantic": semantic,
        "instances": instances,
        "passed": equal and panoptic == semantic == 0 and instances != "DIFFERENT",
    }


def _semantic_model_difference(arrays, photo: int, class_logits, mask_logits, sizes: dict) -> int:
    """The same of a semantic model, which fuses classes and masks at the padded size and resizes the scores."""
    from keras import ops

    from maskformer_model.inference import postprocessing

    height_px, width_px = sizes["valid_size_px"]
    masks = postprocessing.resize_logits(mask_logits, sizes["padded_size_px"])[:, :height_px, :width_px]
    scores = postprocessing.semantic_inference(class_logits, masks)
    labels = postprocessing.semantic_map(
        postprocessing.resize_logits(scores, tuple(int(size) for size in arrays[f"size_hw_{photo}"]))
    )
    return int((ops.convert_to_numpy(labels) != arrays[f"semantic_model_argmax_{photo}"]).sum())


def _instances_equal(arrays, photo: int, found: dict, num_chosen: int) -> bool:
    """Whether every official instance has one of ours with its class, score and mask, and none is left.

    Compared one by one, because empty masks all score 0, in any order. Which pairs of query and class are chosen is
    not defined among those as probable as the last one chosen: such instances may be left on either side.
    """
    import numpy as np
    from keras import ops

    classes, scores, masks = (ops.convert_to_numpy(found[name]) for name in ("classes", "scores", "masks"))
    ours = [int(place) for place in np.flatnonzero(classes >= 0)]
    wanted = np.unpackbits(arrays[f"instance_masks_{photo}"], axis=2, count=masks.shape[2]).astype(bool)
    wanted_classes, wanted_scores = arrays[f"instance_classes_{photo}"], arrays[f"instance_scores_{photo}"]
    official = []
    for index, mask in enumerate(wanted):
        equal = [
            place
            for place in ours
            if classes[place] == wanted_classes[index]
            and abs(scores[place] - wanted_scores[index]) <= MAX_SCORE_DIFFERENCE
            and (masks[place] == mask).all()
        ]
        if equal:
            ours.remove(equal[0])
        else:
            official.append(index)
    probs = ops.convert_to_numpy(ops.softmax(arrays[f"class_logits_{photo}"], axis=-1))[:, :-1]
    last = np.sort(probs, axis=None)[-num_chosen]
    is_tied = (np.abs(probs - last) <= 1e-6 * last).any(axis=0)
    # A score is a probability times at most 1.
    return all(is_tied[classes[place]] and scores[place] <= last + MAX_SCORE_DIFFERENCE for place in ours) and all(
        is_tied[wanted_classes[index]] and wanted_scores[index] <= last + MAX_SCORE_DIFFERENCE for index in official
    )


if __name__ == "__main__":
    sys.exit(main())
