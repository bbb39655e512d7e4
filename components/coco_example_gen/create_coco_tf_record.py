"""COCO's json files and photos -> TFRecord files, by the flags of tf-maskformer's converter.

    python -m components.coco_example_gen.create_coco_tf_record --image_dir=train2017 \\
        --object_annotations_file=annotations/instances_train2017.json \\
        --panoptic_annotations_file=annotations/panoptic_train2017.json \\
        --panoptic_masks_dir=annotations/panoptic_train2017 --output_file_prefix=/tmp/train --num_shards=100

It writes PREFIX-00000-of-00100.tfrecord and so on with the Examples of `maskformer_model.data.examples` and, where
flags ask for them, the features of `maskformer_model.data.tf_maskformer_features`; beside them `categories.json`,
PREFIX.kept_aside.jsonl and PREFIX.notices.jsonl. The record files appear together, when all are whole. Arguments after
`--` are Beam's: they choose where it runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from components.coco_example_gen.layouts.split_source import INSTANCES, NO_TRUTH, PANOPTIC, SplitSource
from components.coco_example_gen.options import IngestOptions
from maskformer_model.command_errors import run_command
from maskformer_model.data import stated_extents

EXIT_FAILED = 1


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the flags; what comes after `--` is in `beam_args`."""
    argv = list(argv)
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        prog="create_coco_tf_record", description=__doc__.split("\n")[0], epilog="Arguments after -- are Beam's."
    )
    add = parser.add_argument
    add("--image_dir", action="append", required=True, metavar="DIR", help="folder of photos; may be given repeatedly")
    add("--image_info_file", default="", metavar="JSON", help="the photos; default: those of the other jsons")
    add("--object_annotations_file", default="", metavar="JSON", help="boxes and masks of objects")
    add("--caption_annotations_file", default="", metavar="JSON", help="captions")
    add("--panoptic_annotations_file", default="", metavar="JSON", help="panoptic segments")
    add("--panoptic_masks_dir", default="", metavar="DIR", help="folder of the panoptic PNGs")
    _add_switch(parser, "include_masks", "write each object's mask as a PNG")
    _add_switch(parser, "include_panoptic_masks", "write category, instance and contiguous masks as PNGs")
    _add_switch(parser, "panoptic_skip_crowd", "leave crowd segments out: their pixels become void")
    _add_switch(parser, "skip_objects_outside", "leave out objects whose box leaves the photo, as tf-maskformer does")
    areas_help = "json: a segment's `area` may be larger than its pixels, as ADE20K's (default: by the json's name)"
    add("--areas", choices=("pixels", "json"), help=areas_help)
    add("--output_file_prefix", default="/tmp/train", metavar="PREFIX", help="default: %(default)s")
    add("--num_shards", type=int, default=32, metavar="N", help="record files (default: %(default)s)")
    add("--num_processes", type=int, metavar="N", help="worker processes; 0: none (default: one per core)")
    share = IngestOptions.max_kept_aside_share
    share_help = "fail when a larger share of the records is bad, 0..1 (default: %(default)s)"
    add("--max_kept_aside_share", type=float, default=share, metavar="SHARE", help=share_help)
    args = parser.parse_args(argv[:split])
    args.beam_args = argv[split + 1 :]
    if problem := _problem(args):
        parser.error(problem)
    return args


def source_from_args(args: argparse.Namespace) -> SplitSource:
    """Returns the places of the files that the flags name."""
    objects, captions, panoptic = (
        args.object_annotations_file,
        args.caption_annotations_file,
        args.panoptic_annotations_file,
    )
    return SplitSource(
        layout="flags",
        truth=PANOPTIC if panoptic else INSTANCES if objects else NO_TRUTH,
        photo_dirs=tuple(args.image_dir),
        image_file=args.image_info_file or objects or captions or panoptic,
        panoptic_file=panoptic,
        panoptic_dir=args.panoptic_masks_dir,
        object_file=objects,
        caption_file=captions,
        areas=args.areas or stated_extents.areas_of(panoptic),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return run_command("create_coco_tf_record", lambda: _convert(args), status=EXIT_FAILED)


def _convert(args: argparse.Namespace) -> int:
    from components.coco_example_gen.conversion.conversion_job import ConversionJob, convert
    from components.coco_example_gen.conversion.tf_record_encoder import MaskOptions

    job = ConversionJob(
        source=source_from_args(args),
        output_prefix=args.output_file_prefix,
        num_shards=args.num_shards,
        masks=MaskOptions(
            include_masks=args.include_masks,
            include_panoptic_masks=args.include_panoptic_masks,
            panoptic_skip_crowd=args.panoptic_skip_crowd,
            skip_objects_outside=args.skip_objects_outside,
        ),
        max_kept_aside_share=args.max_kept_aside_share,
        beam_args=tuple(args.beam_args) or beam_args_for(args.num_processes),
    )
    written = convert(job)
    print(f"Wrote {written.num_written} Examples to {written.pattern}; skipped: {written.describe_kept_aside()}")
    if written.noticed:
        print(f"Noticed: {written.describe_notices()}")
    return 0


def beam_args_for(num_processes: int | None) -> tuple[str, ...]:
    """Beam's arguments for so many worker processes on this machine."""
    count = len(os.sched_getaffinity(0)) if num_processes is None else num_processes
    if count <= 1:
        return ("--runner=FnApiRunner", "--direct_num_workers=1")
    return ("--runner=FnApiRunner", "--direct_running_mode=multi_processing", f"--direct_num_workers={count}")


def _add_switch(parser: argparse.ArgumentParser, name: str, meaning: str) -> None:
    """Adds `--name`, `--name=True`, `--name=false` and `--noname`, as Abseil's flags have it."""
    parser.add_argument(f"--{name}", nargs="?", const=True, default=False, type=_truth_value, help=meaning)
    parser.add_argument(f"--no{name}", dest=name, action="store_false", help=argparse.SUPPRESS)


def _truth_value(text: str) -> bool:
    values = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"must be true or false. Received: {text!r}") from None


def _problem(args: argparse.Namespace) -> str:
    jsons = (args.image_info_file, args.object_annotations_file, args.caption_annotations_file)
    if not any((*jsons, args.panoptic_annotations_file)):
        return "one of the json files must be given."
    if bool(args.panoptic_annotations_file) != bool(args.panoptic_masks_dir):
        return "--panoptic_annotations_file and --panoptic_masks_dir must be given together."
    if args.include_masks and not args.object_annotations_file:
        return "--include_masks needs --object_annotations_file."
    if args.include_panoptic_masks and not args.panoptic_annotations_file:
        return "--include_panoptic_masks needs --panoptic_annotations_file."
    if args.num_shards < 1 or (args.num_processes or 0) < 0:
        return "--num_shards must be positive and --num_processes not negative."
    if not 0 <= args.max_kept_aside_share <= 1:
        return "--max_kept_aside_share must be in 0..1."
    return ""


if __name__ == "__main__":
    sys.exit(main())
