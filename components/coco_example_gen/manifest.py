"""Writes a data set's manifest, a hash of every file that an ingestion may read, or checks the data against it.

    python -m components.coco_example_gen.manifest write DIR     # DIR/manifest.json; prints the digest
    python -m components.coco_example_gen.manifest check DIR     # exit status 1, and what differs

What a manifest is and how it is made: `data_manifest.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from components.coco_example_gen.options import AUTO_LAYOUT, IngestOptions
from maskformer_model.command_errors import run_command
from maskformer_model.command_parser import CommandParser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    parser = CommandParser(prog="manifest", description=__doc__.split("\n")[0])
    parser.add_argument("action", choices=("write", "check"))
    parser.add_argument("data_dir", metavar="DIR")
    parser.add_argument("--layout", default=AUTO_LAYOUT, help="default: %(default)s")
    args = parser.parse_args(argv)
    return run_command("manifest", lambda: _write_or_check(args))


def _write_or_check(args: argparse.Namespace) -> int:
    # Late, so that `--help` answers at once.
    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()  # What follows needs it, and it greets.
    from components.coco_example_gen import data_manifest
    from components.coco_example_gen.sources import sources_of

    path = os.path.join(args.data_dir, data_manifest.MANIFEST_FILE)
    sources = sources_of(args.data_dir, IngestOptions(layout=args.layout))
    manifest = data_manifest.build_manifest(args.data_dir, sources.values())
    if args.action == "write":
        print(data_manifest.write_manifest(path, manifest))
        return 0
    changes = data_manifest.differences(data_manifest.read_manifest(path), manifest)
    print("\n".join(changes) or f"{len(manifest)} files are as the manifest says.")
    return int(bool(changes))


if __name__ == "__main__":
    sys.exit(main())
