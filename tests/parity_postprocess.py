"""Compares post-processing with the official code's: `python -m tests.parity_postprocess FOLDER`.

The folder has the golden `postprocess/` layout: `postprocess.npz` with `class_logits_n`, `mask_logits_n`, `size_hw_n`,
`panoptic_n` and `semantic_argmax_n` for each photo n, `postprocess.json` with the thresholds and each photo's
`segments_info` (class indices as `category_id`), which also say what is a thing.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys


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
    print(f"{'photo':>5} {'size':>10} {'panoptic':>9} {'segments_info':>14} {'semantic':>9}  result")
    for row in rows:
        info = "equal" if row["segments_info_equal"] else "DIFFERENT"
        verdict = "pass" if row["passed"] else "FAIL"
        print(f"{row['photo']:>5} {row['size']:>10} {row['panoptic']:9} {info:>14} {row['semantic']:9}  {verdict}")
    failed = sum(not row["passed"] for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} photos are equal in every pixel")
    return int(failed > 0 or not rows)


def compare_folder(folder: pathlib.Path) -> list[dict]:
    """One dict per photo: photo, size, differing panoptic and semantic pixels, segments_info_equal, passed."""
    import numpy as np  # Late, like Keras below, so that `--help` answers at once.

    settings = json.loads((folder / "postprocess.json").read_text(encoding="utf-8"))
    with np.load(folder / "postprocess.npz") as arrays:
        photos = sorted(int(name.rsplit("_", 1)[1]) for name in arrays.files if name.startswith("class_logits_"))
        isthing = _isthing(settings["segments_info"], arrays[f"class_logits_{photos[0]}"].shape[1] - 1)
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
    mask_logits = postprocessing.resize_logits(mask_logits, (height_px, width_px))
    thresholds = settings["object_mask_threshold"], settings["overlap_threshold"]
    answer = postprocessing.panoptic_inference(class_logits, mask_logits, isthing, *thresholds)
    classes = ops.convert_to_numpy(answer["segment_classes"])[: int(answer["num_segments"])].tolist()
    segments_info = [{"id": i, "isthing": isthing[c], "category_id": c} for i, c in enumerate(classes, 1)]
    labels = postprocessing.semantic_map(postprocessing.semantic_inference(class_logits, mask_logits))
    panoptic = int((ops.convert_to_numpy(answer["segment_map"]) != arrays[f"panoptic_{photo}"]).sum())
    semantic = int((ops.convert_to_numpy(labels) != arrays[f"semantic_argmax_{photo}"]).sum())
    equal = segments_info == settings["segments_info"][str(photo)]
    return {
        "photo": photo,
        "size": f"{height_px}x{width_px}",
        "panoptic": panoptic,
        "segments_info_equal": equal,
        "semantic": semantic,
        "passed": equal and panoptic == semantic == 0,
    }


if __name__ == "__main__":
    sys.exit(main())
