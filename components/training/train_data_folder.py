"""Trains from records, or straight from a data folder: `maskformer train`.

With `--data DIR` the folder, in any layout that the pipeline reads, is converted to records in `--model_dir`. They are
converted again only if a file of the folder or an option has changed. The rest is `maskformer_model.train`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.coco_example_gen.layouts.find import LAYOUT_NAMES
from components.coco_example_gen.options import AUTO_LAYOUT, EVAL_SPLIT, SPLITS, TRAIN_SPLIT, IngestOptions
from maskformer_model import extras, train

if TYPE_CHECKING:
    from components.coco_example_gen.layouts.split_source import SplitSource

RECORDS_FOLDER, SOURCE_FILE = "records", "source.json"
# As `maskformer_model.train` finds them in a folder.
_PREFIXES = {TRAIN_SPLIT: "train", EVAL_SPLIT: "val"}
_PHOTOS_PER_SHARD = 256
_BEAM_ARGS = ("--runner=FnApiRunner", "--direct_num_workers=1")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; a wrong flag ends the program with status 2."""
    parser = train.make_parser()
    group = parser.add_argument_group("data (needs the extra `pipeline`)")
    data_help = "train from this folder: COCO, a labelling tool's export, label PNGs, ... (see `maskformer inspect`)"
    group.add_argument("--data", metavar="DIR", default="", help=data_help)
    group.add_argument("--layout", choices=(AUTO_LAYOUT, *LAYOUT_NAMES), default=AUTO_LAYOUT, help="layout of --data")
    share_help = "evaluate on this share of the train photos (default: the folder's own split, or a fifth)"
    group.add_argument("--eval_share", type=float, default=0.0, metavar="SHARE", help=share_help)
    things_help = "label PNGs: classes whose connected regions are separate objects"
    group.add_argument("--things", default="", metavar="A,B", help=things_help)
    stuff_help = "single objects (polygons): classes that are stuff, such as wall"
    group.add_argument("--stuff", default="", metavar="A,B", help=stuff_help)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    options = parse_args(argv)
    return train.run(options, prepare=lambda: _use_folder(options) if options.data else None)


def _use_folder(options: argparse.Namespace) -> None:
    """Makes the records of `--data` and lets the training find them."""
    extras.require("pipeline")
    things, stuff = (tuple(filter(None, names.split(","))) for names in (options.things, options.stuff))
    ingest = IngestOptions(layout=options.layout, eval_share=options.eval_share, things=things, stuff=stuff)
    os.environ[train.RECORDS_VARIABLE] = convert_folder(
        options.data, os.path.join(options.model_dir, RECORDS_FOLDER), ingest
    )


def convert_folder(data_dir: str, records_dir: str, options: IngestOptions) -> str:
    """Converts a data folder to records, unless that was done before; returns their folder.

    Raises:
        UnknownLayoutError: if the folder has no layout that can be read.
        ValueError: if an annotation file is not whole.
        TooManyKeptAsideError: if too many records are bad.
    """
    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    from components.coco_example_gen.conversion.conversion_job import ConversionJob, convert
    from components.coco_example_gen.sources import sources_of

    sources = sources_of(data_dir, options)
    source_path = os.path.join(records_dir, SOURCE_FILE)
    state = _state_of(data_dir, sources, options)
    if os.path.isfile(source_path):
        with open(source_path, encoding="utf-8") as file:
            if json.load(file) == state:
                return records_dir
    shutil.rmtree(records_dir, ignore_errors=True)
    os.makedirs(records_dir)
    for split in SPLITS:
        written = convert(
            ConversionJob(
                source=sources[split],
                output_prefix=os.path.join(records_dir, _PREFIXES[split]),
                num_shards=1 + state["files"] // _PHOTOS_PER_SHARD,
                max_kept_aside_share=options.max_kept_aside_share,
                beam_args=_BEAM_ARGS,
            )
        )
        print(f"{split}: {written.num_written} photos; skipped: {written.describe_kept_aside()}", file=sys.stderr)
    with open(source_path, "w", encoding="utf-8") as file:
        json.dump(state, file, indent=1)
    return records_dir


def _state_of(data_dir: str, sources: dict[str, SplitSource], options: IngestOptions) -> dict:
    """What the records depend on: the options, and size and time of change of every file."""
    paths = set()
    for source in sources.values():
        files, folders = source.input_paths()
        paths |= {path for path in files if os.path.isfile(path)}
        for folder in folders:
            paths |= {os.path.join(place, name) for place, _, names in os.walk(folder) for name in names}
    digest = hashlib.sha256()
    for path in sorted(paths):
        status = os.stat(path)
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return {
        "data": os.path.abspath(data_dir),
        "layout": options.layout,
        "eval_share": options.eval_share,
        "things": list(options.things),
        "stuff": list(options.stuff),
        "files": len(paths),
        "content": digest.hexdigest(),
    }


if __name__ == "__main__":
    sys.exit(main())
