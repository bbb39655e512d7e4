"""Ingestion: conversion speed, the memory that huge annotation files take, and the input pipeline of training.

The peer of all rows is tf-maskformer's own code, whose figures were measured once (a single process, its converter and
input pipeline); the bars are absolute.
"""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable

from benchmarks.row import Row, main

NUM_PHOTOS, PHOTO_SIZE = 400, (480, 640)
NUM_ANNOTATED_IMAGES, SEGMENTS_PER_IMAGE = 118_000, 11
NUM_TRAINING_EXAMPLES, INPUT_EDGE = 400, 640
_DRAWN_SCENES = 16
COCO_DIR = pathlib.Path(__file__).resolve().parents[2] / "shared/data/coco_panoptic"


def measure() -> Iterable[Row]:
    """Yields the rows; the data is generated."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        write_photos(root)
        yield _conversion_row(root)
        yield from _input_rows(root)
    if COCO_DIR.is_dir():
        yield _compression_row()
    with tempfile.TemporaryDirectory() as folder:
        yield _memory_row(pathlib.Path(folder))


def write_photos(root: pathlib.Path, num_photos: int = NUM_PHOTOS) -> None:
    """Writes so many photos with their PNGs, in COCO's panoptic layout: 16 scenes, each linked under many names."""
    import numpy as np
    from PIL import Image

    from maskformer_model.data.panoptic_png import encode_panoptic_png, segment_extents
    from maskformer_model.scenes import data_set, drawing

    ids_of = {entry["name"]: entry["id"] for entry in data_set.CATEGORIES}
    png_dir = root / "annotations" / "panoptic_train2017"
    png_dir.mkdir(parents=True)
    (root / "train2017").mkdir()
    images, annotations = [], []
    segments_of = []
    for number in range(min(_DRAWN_SCENES, num_photos)):
        generator = np.random.default_rng([7, number])
        scene = drawing.draw_scene(generator, *PHOTO_SIZE)
        # A photo is noisier than a drawing; without noise its JPEG is a third as large and decodes too fast.
        noise = generator.normal(0, 8, scene.photo.shape)
        photo = Image.fromarray(np.clip(scene.photo + noise, 0, 255).astype(np.uint8))
        photo.save(root / "train2017" / f"{number:012d}.jpg", quality=90)
        (png_dir / f"{number:012d}.png").write_bytes(encode_panoptic_png(scene.segment_map))
        present, _, _ = segment_extents(scene.segment_map)
        segments_of.append(
            [{"id": int(k), "category_id": ids_of[scene.segments[k - 1].name], "iscrowd": 0} for k in present.tolist()]
        )
    for number in range(num_photos):
        name, drawn = f"{number:012d}", f"{number % _DRAWN_SCENES:012d}"
        if name != drawn:
            os.link(root / "train2017" / f"{drawn}.jpg", root / "train2017" / f"{name}.jpg")
            os.link(png_dir / f"{drawn}.png", png_dir / f"{name}.png")
        images.append({"id": number, "file_name": f"{name}.jpg", "height": PHOTO_SIZE[0], "width": PHOTO_SIZE[1]})
        segments = segments_of[number % _DRAWN_SCENES]
        annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
    document = {"images": images, "annotations": annotations, "categories": list(data_set.CATEGORIES)}
    (root / "annotations" / "panoptic_train2017.json").write_text(json.dumps(document))


def _conversion_row(root: pathlib.Path) -> Row:
    """Returns the converter's own function in this process: one worker, nothing warmed up but imports and one photo."""
    from components.coco_example_gen.conversion.conversion_step import convert_shard
    from components.coco_example_gen.layouts.published import find_sources
    from components.coco_example_gen.records.reference_files import SplitRequest, plan_split

    source = find_sources(str(root), ["train"], os.path.exists)["train"]
    seconds, cpu_seconds = [], []
    for repeat in range(4):
        output, work = root / f"out{repeat}", root / f"work{repeat}"
        (output / "Split-train").mkdir(parents=True)
        work.mkdir()
        start, cpu_start = time.perf_counter(), time.process_time()
        plan = plan_split(SplitRequest(split="train"), source, str(work))
        for shard in plan.shards:
            convert_shard(shard, plan.categories, str(output), str(work))
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    # The first repeat traces graphs and fills the disk's cache.
    rate, cpu_rate = (NUM_PHOTOS / statistics.median(times[1:]) for times in (seconds, cpu_seconds))
    return Row(
        name=f"conversion of {NUM_PHOTOS} photos of 480x640, one process, all PNGs decoded and checked",
        ours=rate,
        unit="images/s",
        bar="at least 100 images/s",
        passed=rate >= 100,
        remark=f"median of 3; {cpu_rate:.0f} per second of processor time; tf-maskformer: 16.7/s",
    )


def _input_rows(root: pathlib.Path) -> Iterable[Row]:
    from maskformer_model import config
    from maskformer_model.data.input_pipeline import make_dataset

    parser = config.ParserConfig(
        augmentation="detr",
        output_size=(INPUT_EDGE, INPUT_EDGE),
        min_sizes_px=(480, 512, 544, 576, 608, 640),
        max_size_px=INPUT_EDGE,
    )
    data_config = config.DataConfig(global_batch_size=8, shuffle_buffer_size=64, parser=parser)
    data = make_dataset(str(root / "out0" / "Split-train" / "*"), data_config, training=True, seed=1)
    batches = iter(data)
    first = next(batches)
    num_bytes = sum(int(value.numpy().nbytes) for name, value in first.items() if name != "image_id") / 8
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(NUM_TRAINING_EXAMPLES // 8):
            next(batches)
        rates.append(NUM_TRAINING_EXAMPLES / (time.perf_counter() - start))
    rate = statistics.median(rates)
    yield Row(
        name="input pipeline, photos of 480x640, DETR's augmentation, 640x640, batches of 8",
        ours=rate,
        unit="examples/s",
        bar="at least 40 examples/s on two cores",
        passed=rate >= 40,
        remark="median of 3 times 400 examples; tf-maskformer: 4 to 9/s",
    )
    yield Row(
        name="what the input pipeline hands over",
        ours=num_bytes / 1e6,
        unit="MB/example",
        bar="at most 3 MB/example",
        passed=num_bytes <= 3e6,
        remark="tf-maskformer: 84 MB",
    )


def _compression_row() -> Row:
    """Why record files are not compressed: photos and PNGs are already."""
    photos = sorted((COCO_DIR / "val2017").glob("*.jpg"))
    files = [*photos, *(COCO_DIR / "annotations/panoptic_val2017" / f"{photo.stem}.png" for photo in photos)]
    contents = [file.read_bytes() for file in files]
    whole, packed = sum(map(len, contents)), sum(len(gzip.compress(content)) for content in contents)
    return Row(
        name=f"what gzip saves of {len(photos)} COCO photos and their PNGs",
        ours=100 * (1 - packed / whole),
        unit="%",
        remark="record files are not compressed",
    )


def _memory_row(root: pathlib.Path) -> Row:
    """Peak memory of a process of its own that plans the split and reads the references of each shard."""
    annotation_file = write_annotations(root, NUM_ANNOTATED_IMAGES)
    size_mb = annotation_file.stat().st_size / 1e6
    command = [sys.executable, "-m", "benchmarks.contestants.plan_annotations", str(root)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(output.splitlines()[-1])
    return Row(
        name=f"peak memory, {found['images']} images with {found['segments']} segments in a json of {size_mb:.0f} MB",
        ours=found["peak_gb"],
        unit="GB",
        bar="at most 1.5 GB",
        passed=found["peak_gb"] <= 1.5,
        remark=f"{found['import_gb']:.2f} GB of it are imports; {found['seconds']:.0f} s to plan and read all of it",
    )


def write_annotations(root: pathlib.Path, num_images: int) -> pathlib.Path:
    """Writes a panoptic json as long as COCO's, entry by entry, and the empty folders that go with it."""
    chance = random.Random(0)
    for name in ("train2017", "annotations/panoptic_train2017"):
        (root / name).mkdir(parents=True)
    path = root / "annotations" / "panoptic_train2017.json"
    with path.open("w") as file:
        file.write('{"images": [')
        for number in range(num_images):
            image = {"id": number, "file_name": f"{number:012d}.jpg", "height": 480, "width": 640, "license": 3}
            image["coco_url"] = f"http://images.example.org/train2017/{number:012d}.jpg"
            file.write(", " * (number > 0) + json.dumps(image))
        file.write('], "annotations": [')
        for number in range(num_images):
            segments = [
                {
                    "id": chance.randrange(1, 1 << 24),
                    "category_id": chance.randrange(1, 201),
                    "iscrowd": 0,
                    "bbox": [chance.randrange(600) for _ in range(4)],
                    "area": chance.randrange(300_000),
                }
                for _ in range(SEGMENTS_PER_IMAGE)
            ]
            entry = {"image_id": number, "file_name": f"{number:012d}.png", "segments_info": segments}
            file.write(", " * (number > 0) + json.dumps(entry))
        categories = [{"id": number, "name": f"class {number}", "isthing": 1} for number in range(1, 201)]
        file.write(f'], "categories": {json.dumps(categories)}}}')
    return path


if __name__ == "__main__":
    main(measure)
