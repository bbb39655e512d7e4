"""`python -m tests.recipes write`, `show NAME`, or `changed PHOTOS`; see the subcommands' help."""

from __future__ import annotations

import argparse
import pathlib
import sys

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "recipes.md"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.recipes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write", help="write docs/recipes.md")
    show = commands.add_parser("show", help="print every field of a recipe beside the official value and its source")
    show.add_argument("name", help="registered experiment")
    changed = commands.add_parser("changed", help="print the share of pixels that each mended rule changes on photos")
    changed.add_argument("data", help="folder of a COCO panoptic data set")
    changed.add_argument("--photos", type=int, default=10, help="how many of val2017, in the order of their names")
    options = parser.parse_args(arguments)
    if options.command == "changed":
        from tests.recipes.changed_pixels import print_changes

        print_changes(pathlib.Path(options.data), options.photos)
        return 0
    from tests.recipes import table

    if options.command == "write":
        PAGE.write_text(table.page(), encoding="utf-8")
        print(f"Wrote {PAGE}")
    else:
        print(table.recipe_page(options.name), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
