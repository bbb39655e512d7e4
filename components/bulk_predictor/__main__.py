"""Predicts photos in bulk: `python -m components.bulk_predictor --model DIR --images ... --output DIR`.

Cut off, it is continued by the same command: a shard that is done is not done again. Flags that it does not know are
Beam's, such as `--runner=DataflowRunner`. Exit status: 0, or 2 when the command was wrong; a photo that is refused is
in its shard with the reason, and counted in `summary.json`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from maskformer_model.command_errors import run_command

# Beam's default runner downloads a program.
BEAM_FLAGS = ["--runner=FnApiRunner"]


def parse_args(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """This program's flags, and Beam's."""
    parser = argparse.ArgumentParser(
        prog="python -m components.bulk_predictor", description="Predicts photos in bulk with Beam, and can be resumed."
    )
    add = parser.add_argument
    add("--model", required=True, metavar="DIR", help="a SavedModel, or a folder of pushed versions")
    add("--images", nargs="+", metavar="PLACE", default=[], help="files, folders and patterns")
    add(
        "--images_from",
        metavar="FILE",
        help="a text file with a photo per line, in any storage",
    )
    add("--output", required=True, metavar="DIR", help="where predictions are written")
    add("--photos_per_shard", type=int, default=1000, metavar="N", help="photos per file (default: %(default)s)")
    args, beam_flags = parser.parse_known_args(argv)
    if bool(args.images) == bool(args.images_from):
        parser.error("One of `--images` and `--images_from` must be given.")
    return args, beam_flags


def predict(args: argparse.Namespace, beam_flags: list[str]) -> dict[str, int]:
    """Predicts what is not done yet; returns the counts of the whole."""
    from components.bulk_predictor import plan
    from components.pushing import model_versions
    from maskformer_model.data import photo_files
    from maskformer_model.export.versions import newest_model_dir

    model_dir = os.path.abspath(newest_model_dir(args.model))
    output_dir = os.path.abspath(args.output)
    if args.images_from:
        with open(args.images_from, encoding="utf-8") as file:
            photos = [line for line in file.read().splitlines() if line]
    else:
        photos = [os.path.abspath(path) for path in photo_files.find_photos(args.images)]
    shards = plan.make_plan(output_dir, photos, args.photos_per_shard, model_versions.content_hash(model_dir))
    left = plan.open_shards(output_dir, shards)
    print(f"{len(photos)} photos in {len(shards)} shards, {len(left)} to do", flush=True)
    if left:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        from components.bulk_predictor.predict_step import PredictShards

        with beam.Pipeline(options=PipelineOptions([*BEAM_FLAGS, *beam_flags])) as pipeline:
            _ = pipeline | PredictShards(left, model_dir, output_dir)
    return plan.summarize(output_dir, shards)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args, beam_flags = parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return run_command("components.bulk_predictor", lambda: _predict(args, beam_flags))


def _predict(args: argparse.Namespace, beam_flags: list[str]) -> int:
    counts = predict(args, beam_flags)
    print(f"{counts['photos']} photos predicted into {args.output}, {counts['refused']} of them refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
