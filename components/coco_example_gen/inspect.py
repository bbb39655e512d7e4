"""Shows what a data folder holds, before anybody trains on it.

    python -m components.coco_example_gen.inspect DIR

It prints the layout, the splits, the classes with their segments and pixels, photo sizes, odd things, records that an
ingestion would skip by reason, and the query ceiling: the best PQ that a number of queries allows. The same stands in
an HTML page, with pictures of a few photos and their truth. Exit status: 0, or 2 where the folder cannot be read.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from components.coco_example_gen.layouts.find import LAYOUT_NAMES, UnknownLayoutError, notes_on
from components.coco_example_gen.options import AUTO_LAYOUT, SPLITS, IngestOptions
from maskformer_model.command_errors import run_command
from maskformer_model.command_parser import CommandParser

if TYPE_CHECKING:
    from components.coco_example_gen.layouts.split_source import SplitSource
    from maskformer_model.config import ExperimentConfig
    from maskformer_model.metrics.query_ceiling import SegmentRanks

EXIT_WRONG_INPUT = 2
_EXPERIMENT = "coco_small"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line; a wrong flag ends the program with status 2."""
    parser = CommandParser(prog="python -m components.coco_example_gen.inspect", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("data_dir", metavar="DIR", help="the data folder")
    layouts = (AUTO_LAYOUT, *LAYOUT_NAMES)
    add("--layout", choices=layouts, default=AUTO_LAYOUT, help="how DIR is laid out (default: %(default)s looks)")
    add("--eval_share", type=float, default=0.0, metavar="SHARE", help="evaluate on this share of the train photos")
    add("--things", default="", metavar="A,B", help="label PNGs: classes whose connected regions are objects")
    add("--stuff", default="", metavar="A,B", help="single objects (polygons): classes that are stuff")
    add("--max_images", type=int, default=0, metavar="N", help="the first N photos of each split; 0 reads all")
    add("--experiment", default=_EXPERIMENT, metavar="NAME", help="the planned model (default: %(default)s)")
    add("--params_override", metavar="K=V,...", default="", help="its settings, such as task.model.num_queries=200")
    add("--pictures", type=int, default=6, metavar="N", help="photos to draw (default: %(default)s)")
    add("--page", metavar="FILE", help="where the HTML page goes (default: inspect-NAME.html here); '' writes none")
    args = parser.parse_args(argv)
    if args.page is None:
        args.page = f"inspect-{pathlib.Path(args.data_dir).resolve().name}.html"
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return run_command("inspect", lambda: _inspect(args), status=EXIT_WRONG_INPUT)


def _inspect(args: argparse.Namespace) -> int:
    from maskformer_model import config as experiment_config
    from maskformer_model import experiments

    config = experiment_config.override(experiments.get(args.experiment), args.params_override)
    print(inspect_folder(args, config))
    return 0


def inspect_folder(args: argparse.Namespace, config: ExperimentConfig) -> str:
    """Reads the folder, writes the HTML page, and returns the page as text."""
    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    from components.coco_example_gen.inspection import page
    from components.coco_example_gen.inspection.survey import survey_split
    from components.coco_example_gen.sources import sources_of

    things, stuff = (tuple(name for name in names.split(",") if name) for names in (args.things, args.stuff))
    options = IngestOptions(layout=args.layout, eval_share=args.eval_share, things=things, stuff=stuff)
    sources = sources_of(args.data_dir, options)
    num_shown = -(-args.pictures // len(SPLITS))
    surveys = [
        survey_split(
            split,
            sources[split],
            config.task.kind,
            max_images=args.max_images,
            num_shown=num_shown,
        )
        for split in SPLITS
    ]
    others, faults = _other_forms(args.data_dir, options, sources, config)
    facts = [*notes_on(sources, options.eval_share), *faults]
    facts += [f"Can also be read as: {layout} (--layout {layout})" for layout, _ in others]
    facts += [f"{split}: {', '.join(_places(sources[split]))}" for split in SPLITS]
    title = f"Data in {args.data_dir}"
    sections = page.sections_of(surveys, config, facts, others)
    text = page.as_text(title, sections)
    if not args.page:
        return text
    pictures = [page.picture_of(survey, record) for survey in surveys for record in survey.shown]
    pathlib.Path(args.page).write_text(page.as_html(title, sections, pictures), encoding="utf-8")
    return f"{text}\n\nPage with {len(pictures)} pictures: {args.page}"


def _places(source: SplitSource) -> list[str]:
    files, folders = source.input_paths()
    return [*(path for path in files if os.path.exists(path)), *folders]


def _other_forms(
    data_dir: str, options: IngestOptions, sources: Mapping[str, SplitSource], config: ExperimentConfig
) -> tuple[list[tuple[str, dict[str, SegmentRanks]]], list[str]]:
    """Finds the other layouts of the folder, with the segments that their annotations state, and what is broken."""
    import dataclasses

    from components.coco_example_gen.inspection.stated_segments import stated_ranks
    from components.coco_example_gen.sources import sources_of

    found, faults = [], []
    for layout in LAYOUT_NAMES if options.layout == AUTO_LAYOUT else ():
        if layout == sources[SPLITS[0]].layout:
            continue
        try:
            others = sources_of(data_dir, dataclasses.replace(options, layout=layout))
            kind = config.task.kind
            ranks = {split: stated_ranks(others[split], kind) for split in SPLITS}
        except UnknownLayoutError:
            continue
        except (OSError, ValueError) as error:
            faults.append(f"Cannot be read as {layout}: {error}")
            continue
        found.append((layout, ranks))
    return found, faults


if __name__ == "__main__":
    sys.exit(main())
