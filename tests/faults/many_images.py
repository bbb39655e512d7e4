"""Converts very many tiny photos: `python -m tests.faults.many_images --photos 100000`; a quarter of an hour, a core.

Writes the photos (16 scenes, linked), lets `manifest write` and the converter read them, each in a process of its own,
and prints seconds and peak memory. Ends with 1 if a photo is missing from the records, or if more memory was taken than
for a hundredth of the photos, and half a kilobyte a photo for their list.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

PROJECT_DIR = pathlib.Path(__file__).resolve().parents[2]
NUM_SCENES, SIZE_PX = 16, (48, 64)
BYTES_PER_PHOTO = 512
# Reads its own peak, since the peaks of children are only known as their maximum.
_RUN = (
    "import resource, runpy, sys, json; sys.argv = sys.argv[1:]\n"
    "try: runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
    "except SystemExit as end: status = end.code or 0\n"
    "print(json.dumps({'status': status, 'kb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))"
)


def write_data_set(folder: pathlib.Path, num_photos: int) -> None:
    """Writes a data set in COCO's panoptic layout, with so many train photos and a few others."""
    import numpy as np
    from PIL import Image

    from maskformer_model.data.panoptic_png import encode_panoptic_png, segment_extents
    from maskformer_model.scenes import data_set, drawing

    ids_of = {entry["name"]: entry["id"] for entry in data_set.CATEGORIES}
    scenes = folder.with_name("scenes")
    scenes.mkdir()
    segments = []
    for number in range(NUM_SCENES):
        scene = drawing.draw_scene(np.random.default_rng(number), *SIZE_PX)
        Image.fromarray(scene.photo).save(scenes / f"{number}.jpg")
        (scenes / f"{number}.png").write_bytes(encode_panoptic_png(scene.segment_map))
        present = segment_extents(scene.segment_map)[0].tolist()
        segments.append([{"id": k, "category_id": ids_of[scene.segments[k - 1].name], "iscrowd": 0} for k in present])
    for split, count in {"train2017": num_photos, "val2017": NUM_SCENES}.items():
        write_split(folder, split, count, scenes, segments, data_set.CATEGORIES)


def write_split(folder: pathlib.Path, split: str, count: int, scenes: pathlib.Path, segments, categories) -> None:
    """Links the scenes as so many photos, and lists them."""
    photos, pngs = folder / split, folder / "annotations" / f"panoptic_{split}"
    for path in (photos, pngs):
        path.mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        name, scene = f"{number:012d}", number % NUM_SCENES
        os.link(scenes / f"{scene}.jpg", photos / f"{name}.jpg")
        os.link(scenes / f"{scene}.png", pngs / f"{name}.png")
        images.append({"id": number, "file_name": f"{name}.jpg", "height": SIZE_PX[0], "width": SIZE_PX[1]})
        annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments[scene]})
    document = {"images": images, "annotations": annotations, "categories": list(categories)}
    (folder / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(document))


def run(module: str, *arguments: object) -> tuple[float, float]:
    """Runs a command; returns its seconds and its peak memory in MB.

    Raises:
        RuntimeError: if it failed.
    """
    start_s = time.monotonic()
    command = [sys.executable, "-c", _RUN, module, *map(str, arguments)]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True)
    last = done.stdout.splitlines()[-1] if done.stdout else "{}"
    if done.returncode or json.loads(last)["status"]:
        raise RuntimeError(f"{module}: {(done.stdout + done.stderr)[-600:]}")
    return time.monotonic() - start_s, json.loads(last)["kb"] / 1000


def num_records(prefix: pathlib.Path) -> int:
    """Counts the records of all shards."""
    import tensorflow as tf

    files = sorted(map(str, prefix.parent.glob(f"{prefix.name}*.tfrecord*")))
    return int(tf.data.TFRecordDataset(files).reduce(0, lambda count, _: count + 1))


def convert(num_photos: int) -> dict[str, tuple[float, float]]:
    """Writes so many photos and reads them; returns seconds and peak MB by command.

    Raises:
        RuntimeError: if a command failed, or a photo is missing.
    """
    with tempfile.TemporaryDirectory() as work:
        folder, prefix = pathlib.Path(work, "data"), pathlib.Path(work, "out", "train")
        write_data_set(folder, num_photos)
        found = {"manifest": run("components.coco_example_gen.manifest", "write", folder)}
        annotations = folder / "annotations"
        flags = ["--image_dir", folder / "train2017", "--panoptic_masks_dir", annotations / "panoptic_train2017"]
        flags += ["--panoptic_annotations_file", annotations / "panoptic_train2017.json"]
        flags += ["--output_file_prefix", prefix, "--num_processes", 0]
        found["converter"] = run("components.coco_example_gen.create_coco_tf_record", *flags)
        if (count := num_records(prefix)) != num_photos:
            raise RuntimeError(f"{num_photos} photos gave {count} records.")
    return found


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.many_images", description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=100_000)
    args = parser.parse_args()
    few, many = convert(args.photos // 100), convert(args.photos)
    for name, (seconds, peak_mb) in many.items():
        of_few = f"{few[name][1]:.0f} MB for a hundredth"
        print(f"{name}: {args.photos} photos in {seconds:.0f} s, at most {peak_mb:.0f} MB, {of_few}")
    allowed_mb = args.photos * BYTES_PER_PHOTO / 1e6
    return int(any(many[name][1] > few[name][1] + allowed_mb for name in many))


if __name__ == "__main__":
    sys.exit(main())
