"""Every export format on real photos, beside the network in TensorFlow: `python -m benchmarks.exports --help`.

Not among the measurements of `python -m benchmarks`, because it needs a trained model, photos with truth, and the extra
`exports`. Per format: size of the file, median latency beside TensorFlow's in the same run, share of pixels whose
segment is the same as TensorFlow's, and PQ against the truth. A format whose converter or runtime fails is a row too.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

NUM_CALLS = 5


def file_mb(path: pathlib.Path) -> float:
    """Size of a format's files in MB."""
    return sum(part.stat().st_size for part in path.parent.glob(f"{path.stem}.*")) / 1e6


class Photos:
    """Photos with their truth, as the runtimes get them and as the network's answers become maps."""

    def __init__(self, data_dir: pathlib.Path, split: str, num_photos: int, config: Any, categories: Any):
        document = json.loads((data_dir / "annotations" / f"panoptic_{split}.json").read_text("utf-8"))
        by_id = {image["id"]: image["file_name"] for image in document["images"]}
        rows = sorted((by_id[a["image_id"]], a) for a in document["annotations"])[:num_photos]
        self._folder, self._pngs = data_dir / split, data_dir / "annotations" / f"panoptic_{split}"
        self._rows, self._config, self._categories = rows, config, categories

    def inputs(self):
        """`(name, photo, normalised and padded image, valid size)` of each photo."""
        import numpy as np
        import tensorflow as tf

        from maskformer_model.data import preprocessing
        from maskformer_model.data.normalization import normalize
        from maskformer_model.inference import photo_inference

        for name, annotation in self._rows:
            photo = preprocessing.decode_image(tf.constant((self._folder / name).read_bytes()))
            resized = preprocessing.resize_for_inference(photo, self._config.task.inference)
            padded = photo_inference.pad_to_multiple(resized, self._config.task.inference.size_divisibility)
            valid = tuple(resized.shape[:2])
            is_black = self._config.task.inference.pads_with_black
            image = np.asarray(normalize(padded[None], None if is_black else np.array([valid])), np.float32)
            yield annotation, tuple(photo.shape[:2]), image, valid

    def maps(self, run: Callable) -> tuple[list[Any], float, list[float]]:
        """Returns the panoptic map of each photo, PQ of all, and the seconds of each call of the network."""
        from maskformer_model.data.panoptic_png import decode_panoptic_png
        from maskformer_model.inference import postprocessing
        from maskformer_model.metrics.panoptic_quality import (
            PanopticCounts,
            count_image,
            panoptic_quality,
            segments_from_coco,
        )
        from maskformer_model.metrics.segment_matching import MatchedSegment

        settings, table = self._config.task.inference, self._categories
        maps, counts, seconds = [], PanopticCounts.zeros(table.num_classes), []
        for annotation, size, image, valid in self.inputs():
            for _ in range(NUM_CALLS):
                start_s = time.perf_counter()
                outputs = run(image)
                seconds.append(time.perf_counter() - start_s)
            masks = postprocessing.resize_logits(
                outputs["mask_logits"][0], size, padded_size_px=image.shape[1:3], valid_size_px=valid
            )
            answer = postprocessing.panoptic_inference(
                outputs["class_logits"][0],
                masks,
                table.isthing,
                settings.object_mask_threshold,
                settings.overlap_threshold,
                settings.pixel_threshold,
            )
            maps.append(answer["segment_map"].numpy())
            classes = answer["segment_classes"].numpy()[: int(answer["num_segments"])]
            found = [MatchedSegment(index + 1, int(c)) for index, c in enumerate(classes)]
            truth = decode_panoptic_png((self._pngs / annotation["file_name"]).read_bytes())
            wanted = segments_from_coco(annotation["segments_info"], table)
            counts += count_image(truth, wanted, maps[-1], found, table.num_classes)
        return maps, panoptic_quality(counts, table.isthing).all.pq, seconds


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One dict per row of the table."""
    import numpy as np
    import tensorflow as tf

    from maskformer_model import other_formats
    from maskformer_model.export.keras_network import load_network

    network, config, categories = load_network(args.model, args.weights)
    photos = Photos(args.data, args.split, args.photos, config, categories)
    size_px = next(photos.inputs())[2].shape[1:3]
    model = other_formats.fixed_size_network(network, size_px)
    in_graph = tf.function(lambda image: model(image, training=False))
    in_graph(tf.zeros((1, *size_px, 3)))
    expected, expected_pq, seconds = photos.maps(lambda image: in_graph(tf.constant(image)))
    rows = [{"format": "TensorFlow", "ms": 1000 * statistics.median(seconds), "same": 1.0, "pq": expected_pq}]
    print(rows[-1], flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for file_format in args.formats.split(","):
            path = pathlib.Path(folder, f"{file_format}{other_formats.suffix_of(file_format)}")
            try:
                other_formats.write(network, path, file_format, size_px)
                maps, pq, seconds = photos.maps(other_formats.load(path))
            except Exception as error:  # What does not work is said in the table.
                rows.append({"format": file_format, "fails": f"{type(error).__name__}: {str(error)[:300]}"})
            else:
                pairs = zip(maps, expected, strict=True)
                same = sum(int(np.sum(a == b)) for a, b in pairs) / sum(m.size for m in maps)
                row = {"format": file_format, "mb": file_mb(path), "ms": 1000 * statistics.median(seconds)}
                rows.append({**row, "same": same, "pq": pq})
            print(rows[-1], flush=True)
    return rows


def main() -> int:
    """Prints a row per format, then all as a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exports", description=__doc__.splitlines()[0])
    model_help = "an exported model, or what a training left beside its weights"
    parser.add_argument("--model", required=True, type=pathlib.Path, metavar="DIR", help=model_help)
    weights_help = "model.weights.h5 of the same training (default: the one in --model)"
    parser.add_argument("--weights", type=pathlib.Path, metavar="FILE", help=weights_help)
    parser.add_argument("--data", required=True, type=pathlib.Path, help="photos and truth in COCO's panoptic layout")
    parser.add_argument("--split", default="train2017")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--formats", default="onnx,openvino,litert,litert_float16,litert_dynamic")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rows = measure(args)
    print("| format | MB | ms | pixels as in TensorFlow | PQ | change |\n| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        if "fails" in row:
            print(f"| {row['format']} | {row['fails']} | | | | |")
        else:
            mb = f"{row['mb']:.1f}" if "mb" in row else ""
            figures = f"{row['same']:.4%} | {row['pq']:.4f} | {row['pq'] - rows[0]['pq']:+.4f}"
            print(f"| {row['format']} | {mb} | {row['ms']:.0f} | {figures} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
