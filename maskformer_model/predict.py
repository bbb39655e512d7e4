"""Segments photos with an exported model: `python -m maskformer_model.predict --model DIR --images ... --output DIR`.

Per photo an overlay that a person can read, a COCO submission, numpy arrays, or pre-annotations for labelling tools. A
photo that cannot be read is listed in `refused.json` with its reason, and the others go on. Exit status: 0, or 1 when a
photo was refused, 2 when the command was wrong. For millions of photos there is `components.bulk_predictor`.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maskformer_model.command_errors import run_command
from maskformer_model.command_parser import CommandParser

PANOPTIC, SEMANTIC, INSTANCE = "panoptic", "semantic", "instance"
OVERLAY, COCO_PANOPTIC, COCO_RESULTS, NPZ = "overlay", "coco_panoptic", "coco_results", "npz"
TOOLS = ("coco_instances", "cvat", "label_studio")  # Pre-annotations for labelling tools, see `annotation_files`.
SHAPES = ("masks", "polygons")
FORMATS = {
    PANOPTIC: (OVERLAY, COCO_PANOPTIC, NPZ, *TOOLS),
    SEMANTIC: (OVERLAY, NPZ, *TOOLS),
    INSTANCE: (OVERLAY, COCO_RESULTS, NPZ, *TOOLS),
}
EXIT_REFUSED = 1


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; a wrong flag ends the program with status 2."""
    parser = CommandParser(
        prog="python -m maskformer_model.predict", description="Segments photos with an exported model."
    )
    add = parser.add_argument
    add("--model", required=True, metavar="DIR", help="a SavedModel, or a folder of pushed versions")
    images_help = "files, folders and patterns such as 'photos/**/*.jpg'"
    add("--images", required=True, nargs="+", metavar="PLACE", help=images_help)
    add("--output", required=True, metavar="DIR", help="where results are written")
    add("--task", choices=tuple(FORMATS), default=PANOPTIC, help="what is predicted (default: %(default)s)")
    formats_help = (
        f"any of {', '.join((OVERLAY, NPZ, *TOOLS))}, {COCO_PANOPTIC} (task panoptic), {COCO_RESULTS} (task instance)"
    )
    add("--format", default=OVERLAY, metavar="F,...", help=f"{formats_help} (default: %(default)s)")
    shapes_help = "how regions are written for labelling tools: exact masks, or polygons (default: %(default)s)"
    add("--shapes", choices=SHAPES, default=SHAPES[0], help=shapes_help)
    add("--object_mask_threshold", type=float, metavar="P", help="panoptic: smallest class probability of a segment")
    add("--overlap_threshold", type=float, metavar="P", help="panoptic: share of its mask that a segment must keep")
    stored_help = "take pixels as stored, as COCO's coordinates do, and not turned as the EXIF tag says"
    add("--stored_orientation", action="store_true", help=stored_help)
    args = parser.parse_args(argv)
    args.formats = tuple(dict.fromkeys(args.format.split(",")))
    if wrong := [name for name in args.formats if name not in FORMATS[args.task]]:
        parser.error(f"`--format` of task {args.task} must be of {', '.join(FORMATS[args.task])}. Received: {wrong}")
    if args.task != PANOPTIC and (args.object_mask_threshold is not None or args.overlap_threshold is not None):
        parser.error(f"Thresholds belong to the task panoptic. Received: {args.task}")
    for name in ("object_mask_threshold", "overlap_threshold"):
        threshold = getattr(args, name)
        if threshold is not None and not 0 <= threshold <= 1:
            parser.error(f"`--{name}` must be from 0 to 1. Received: {threshold}")
    return args


def image_id_of(path: str) -> int | str:
    """COCO's number of a photo where its name is one, else its name without suffix."""
    stem = pathlib.Path(path).stem
    return int(stem) if stem.isascii() and stem.isdigit() else stem


def image_ids_of(paths: Sequence[str], names: Mapping[str, str]) -> dict[str, int | str]:
    """One id for each photo: `image_id_of`, or the unique name of its files where photos would share that id.

    Args:
        paths: The photos.
        names: Their unique names, as `prediction.writer.unique_names` gives them.
    """
    times = collections.Counter(image_id_of(path) for path in paths)
    return {path: image_id_of(path) if times[image_id_of(path)] == 1 else names[path] for path in paths}


def predict(args: argparse.Namespace, *, is_own_process: bool = False) -> int:
    """Segments all photos; returns the exit status. A process that does nothing else may keep packed weights."""
    from tqdm import tqdm

    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    from maskformer_model.data import photo_files
    from maskformer_model.export import assets
    from maskformer_model.prediction import writer as prediction_writer
    from maskformer_model.prediction.exported_model import ExportedMaskFormer

    paths = photo_files.find_photos(args.images)
    model = ExportedMaskFormer.from_directory(args.model)
    if is_own_process:
        assets.keep_packed_weights(model.facts)
    options = {"upright": not args.stored_orientation}
    tasks: dict[str, Callable[..., Any]] = {
        PANOPTIC: model.predict,
        SEMANTIC: model.predict_semantic,
        INSTANCE: model.predict_instances,
    }
    if args.task == PANOPTIC:
        options |= {name: getattr(args, name) for name in ("object_mask_threshold", "overlap_threshold")}
    refused = {}
    writer = prediction_writer.PredictionWriter(args.output, args.formats, model.categories, paths, args.shapes)
    image_ids = image_ids_of(paths, writer.names)
    refused_path = os.path.join(args.output, "refused.json")
    try:
        for path in tqdm(paths, unit="photo", dynamic_ncols=True):
            try:
                result = tasks[args.task](path, **options)
                _ = result.image  # Decoded here, since overlays need it: what only TensorFlow can read is refused too.
            except (photo_files.PhotoError, OSError) as error:
                refused[path] = str(error)
                tqdm.write(f"{path}: {error}", file=sys.stderr)
                continue
            # Outside of `try`: a full disk ends the command and is no fault of the photo.
            writer.write(path, image_ids[path], result)
    finally:  # Also where somebody ends the command: the photos that are done stay of use.
        writer.finish()
        pathlib.Path(refused_path).write_text(json.dumps(refused, indent=1), encoding="utf-8")
    print(f"{len(paths) - len(refused)} of {len(paths)} photos segmented into {args.output}")
    if refused:
        print(f"{len(refused)} refused: {refused_path}", file=sys.stderr)
    return EXIT_REFUSED if refused else 0


def main(argv: Sequence[str] | None = None, *, is_own_process: bool = False) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # The bar is the output, not TensorFlow's greetings.
    return run_command("maskformer_model.predict", lambda: predict(args, is_own_process=is_own_process))


def run(argv: Sequence[str] | None = None) -> int:
    """Runs the program in a process that does nothing else."""
    return main(argv, is_own_process=True)


if __name__ == "__main__":
    sys.exit(run())
