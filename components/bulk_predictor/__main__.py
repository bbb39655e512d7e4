"""Predicts photos in bulk: `python -m components.bulk_predictor --model DIR --images ... --output DIR`.

If it is interrupted, the same command continues: it skips the shards that are done. Beam's flags can stand beside its
own, such as `--direct_running_mode=multi_processing --direct_num_workers=4`. Flags that only a runner's job server
knows stand after `--`.

Model, list and output must be paths. Every worker must see model and output at the same path. The list may name photos
by addresses. Exit status: 0, or 2 if the command was wrong. A photo that is refused is in its shard with the reason,
and `summary.json` counts it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from maskformer_model.command_errors import run_command

# Beam's default runner downloads a program.
BEAM_FLAGS = ["--runner=FnApiRunner"]
_MOUNT = "Mount the storage and name the folder there"
# What to do about an address, by the flag.
_INSTEAD_OF_ADDRESS = {
    "model": f"{_MOUNT}, or copy the model to this machine.",
    "images": f"{_MOUNT}, or list the photos' addresses in a file for `--images_from`.",
    "images_from": "Copy the list to this machine; its lines may be addresses.",
    "output": f"{_MOUNT}, or write to this machine and copy the folder afterwards.",
}


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the flags; Beam's are in `beam_args`, those after `--` in `runner_args`."""
    argv = list(argv)
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        prog="python -m components.bulk_predictor",
        description="Predicts photos in bulk with Beam, and can be resumed.",
        epilog="Flags of Beam can be given too. Those that only a runner knows stand after --.",
    )
    add = parser.add_argument
    add("--model", required=True, metavar="DIR", help="a SavedModel, or a folder of pushed versions; no address")
    add("--images", nargs="+", metavar="PLACE", default=[], help="files, folders and patterns; no addresses")
    add(
        "--images_from",
        metavar="FILE",
        help="a text file with a photo per line: a path, or an address that TensorFlow reads, such as gs://",
    )
    add("--output", required=True, metavar="DIR", help="where predictions are written; no address")
    add("--photos_per_shard", type=int, default=1000, metavar="N", help="photos per file (default: %(default)s)")
    args, beam_args = parser.parse_known_args(argv[:split])
    args.beam_args = beam_args
    args.runner_args = argv[split + 1 :]
    if bool(args.images) == bool(args.images_from):
        parser.error("One of `--images` and `--images_from` must be given.")
    for flag, instead in _INSTEAD_OF_ADDRESS.items():
        given = getattr(args, flag) or []
        for place in [given] if isinstance(given, str) else given:
            if "://" in place:
                parser.error(f"`--{flag}` must be a path on this machine. {instead} Received: {place}")
    return args


def check_beam_args(beam_args: Sequence[str]) -> None:
    """Checks that Beam knows every argument, which it does not do itself.

    Raises:
        ValueError: if it does not know one.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    beam.Pipeline(argv=[*BEAM_FLAGS, *beam_args])  # Imports the runner, because its flags are known only then.
    parsers: list[argparse.ArgumentParser] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)
    _, unknown = parsers[0].parse_known_args(list(beam_args))
    if unknown:
        raise ValueError(
            "Flags must be this command's (see --help) or Beam's; flags that only a Beam runner knows go after `--`. "
            f"Received: {' '.join(unknown)}"
        )


def predict(args: argparse.Namespace) -> dict[str, int]:
    """Predicts what is not done yet; returns the counts of the whole."""
    from components.bulk_predictor import plan
    from components.pushing import model_versions
    from maskformer_model.data import photo_files
    from maskformer_model.export.versions import newest_model_dir

    if args.beam_args:
        check_beam_args(args.beam_args)
    model_dir = os.path.abspath(newest_model_dir(args.model))
    output_dir = os.path.abspath(args.output)
    if args.images_from:
        # A name that is no UTF-8 is refused by name later.
        with open(args.images_from, encoding="utf-8", errors="surrogateescape") as file:
            photos = [line for line in file.read().split("\n") if line]
    else:
        photos = [os.path.abspath(path) for path in photo_files.find_photos(args.images)]
    shards = plan.make_plan(output_dir, photos, args.photos_per_shard, model_versions.content_hash(model_dir))
    left = plan.open_shards(output_dir, shards)
    print(f"{len(photos)} photos in {len(shards)} shards, {len(left)} to do", flush=True)
    if left:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        from components.bulk_predictor.predict_step import PredictShards

        beam_args = [*BEAM_FLAGS, *args.beam_args, *args.runner_args]
        with beam.Pipeline(options=PipelineOptions(beam_args)) as pipeline:
            _ = pipeline | PredictShards(left, model_dir, output_dir)
    return plan.summarize(output_dir, shards)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return run_command("components.bulk_predictor", lambda: _predict(args))


def _predict(args: argparse.Namespace) -> int:
    counts = predict(args)
    print(f"{counts['photos']} photos predicted into {args.output}, {counts['refused']} of them refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
