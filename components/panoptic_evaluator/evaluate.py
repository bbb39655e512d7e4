"""Prints the panoptic quality of predictions in COCO's format, or of a SavedModel on a data folder.

    python -m components.panoptic_evaluator.evaluate --gt_json_file truth.json --pred_json_file predictions.json
    python -m components.panoptic_evaluator.evaluate --model DIR --data DIR
    python -m components.panoptic_evaluator.evaluate --model DIR --data DIR --predictions DIR

Flags, table and numbers are those of COCO's official evaluation; bad input is an error and never a better score. The
second form reads a folder in any form that the pipeline reads, skips and counts its bad records as the pipeline does,
and prints mIoU and AP too. The third is for COCO's panoptic layout and also writes predictions as COCO's server takes
them. Exit status: 0, or 2 if the input is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from components.coco_example_gen.layouts.split_source import BACKGROUND, VOID
from components.coco_example_gen.layouts.split_words import TEST, TRAIN, VAL
from components.coco_example_gen.options import AUTO_LAYOUT, require_layout
from maskformer_model.command_errors import run_command
from maskformer_model.command_parser import CommandParser

if TYPE_CHECKING:
    from maskformer_model.categories import CategoryTable
    from maskformer_model.metrics.panoptic_quality import PanopticCounts, PanopticQuality

EXIT_WRONG_INPUT = 2
_COCO_SPLIT = "val2017"
_PREDICTIONS_JSON = "predictions.json"


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line; ends the program with status 2 if it is wrong."""
    parser = CommandParser(prog="evaluate", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--gt_json_file", metavar="FILE", help="COCO panoptic json of the truth")
    add("--pred_json_file", metavar="FILE", help="COCO panoptic json of the predictions")
    add("--gt_folder", metavar="DIR", help="PNGs of the truth (default: X of X.json)")
    add("--pred_folder", metavar="DIR", help="PNGs of the predictions (default: X of X.json)")
    add("--model", metavar="DIR", help="SavedModel to predict with, instead of --pred_json_file")
    data_help = "data folder, instead of --gt_json_file; with --predictions in COCO's panoptic layout"
    add("--data", metavar="DIR", help=data_help)
    split_help = (
        "train, val or test of --data (default: val, or the only one); with --predictions the folder of photos "
        f"(default: {_COCO_SPLIT})"
    )
    add("--split", default="", help=split_help)
    layout_help = "layout of --data, as `maskformer inspect` names it (default: %(default)s)"
    add("--layout", type=_layout, metavar="NAME", default=AUTO_LAYOUT, help=layout_help)
    add("--things", default="", metavar="A,B", help="label PNGs: classes whose connected regions are separate objects")
    add("--stuff", default="", metavar="A,B", help="single objects (polygons): classes that are stuff, such as wall")
    unlabeled_help = "single objects: whether pixels without an object are background or excused (default: %(default)s)"
    add("--unlabeled", choices=(BACKGROUND, VOID), default=BACKGROUND, help=unlabeled_help)
    predictions_help = "write predictions.json and its PNGs into this folder, which must be empty or new"
    add("--predictions", metavar="DIR", help=predictions_help)
    areas_help = (
        "json: believe the truth's `area` where it is larger than the segment, as the official scores of ADE20K do "
        "(default: json for ade20k_panoptic_*.json, else pixels)"
    )
    add("--areas", choices=("pixels", "json"), help=areas_help)
    add("--output", metavar="FILE", help="json file for the numbers")
    add(
        "--num_workers",
        metavar="N",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="processes, but for --model without --predictions (default: all cores)",
    )
    args = parser.parse_args(argv)
    if args.model or args.data or args.predictions:
        if not (args.model and args.data):
            parser.error("--model and --data belong together, and --predictions to both")
        if args.gt_json_file or args.pred_json_file or args.gt_folder or args.pred_folder:
            parser.error("give either --model with --data, or files of truth and predictions")
    elif not (args.gt_json_file and args.pred_json_file):
        parser.error("--gt_json_file and --pred_json_file are needed, or --model with --data")
    if args.model and not args.predictions:
        if args.split not in ("", TRAIN, VAL, TEST):
            parser.error(f"--split must be {TRAIN}, {VAL} or {TEST} without --predictions. Received: {args.split}")
        if args.areas:
            parser.error("--areas is for jsons of truth and predictions; a layout of --data has its own rule")
    elif args.layout != AUTO_LAYOUT or args.things or args.stuff or args.unlabeled != BACKGROUND:
        parser.error("--layout, --things, --stuff and --unlabeled are for --model and --data without --predictions")
    if args.num_workers < 1:
        parser.error(f"--num_workers must be positive. Received: {args.num_workers}")
    if args.output and (os.path.isdir(args.output) or not os.path.isdir(os.path.dirname(args.output) or ".")):
        parser.error(f"--output must be a file in a folder that exists. Received: {args.output}")
    if args.predictions and not args.split:
        args.split = _COCO_SPLIT
    return args


def _layout(name: str) -> str:
    if name != AUTO_LAYOUT:
        try:
            require_layout(name)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return name


def evaluate_files(
    gt_json_file: str,
    pred_json_file: str,
    gt_folder: str | None = None,
    pred_folder: str | None = None,
    num_workers: int = 1,
    areas: str = "pixels",
) -> tuple[PanopticCounts, CategoryTable]:
    """Counts every image of the truth against its prediction; the result does not depend on the number of workers.

    `areas` says which stated areas are trusted, see `maskformer_model.data.stated_extents`.

    Raises:
        ValueError: if truth and predictions do not fit together; see `coco_files.pairs`.
        FileNotFoundError: if a file is missing.
    """
    from components.panoptic_evaluator.coco_files import pairs

    truth = pairs.PanopticDataset.load(gt_json_file, gt_folder)
    prediction = pairs.PanopticDataset.load(pred_json_file, pred_folder)
    return pairs.count_datasets(truth, prediction, num_workers, areas)


def results_document(quality: PanopticQuality, counts: PanopticCounts, categories: CategoryTable) -> dict[str, Any]:
    """Returns the numbers as json: `summary` (All, Things, Stuff) and `per_category` by category id, as fractions."""
    summary = {
        name: {"pq": mean.pq, "sq": mean.sq, "rq": mean.rq, "n": mean.num_classes}
        for name, mean in (("All", quality.all), ("Things", quality.things), ("Stuff", quality.stuff))
    }
    per_category = {
        str(int(category.id)): {
            "pq": float(quality.per_class.pq[index]),
            "sq": float(quality.per_class.sq[index]),
            "rq": float(quality.per_class.rq[index]),
            "tp": int(counts.true_positives[index]),
            "fp": int(counts.false_positives[index]),
            "fn": int(counts.false_negatives[index]),
            "iou": float(counts.iou_sum[index]),
        }
        for index, category in enumerate(categories.categories)
    }
    return {"summary": summary, "per_category": per_category}


def table(document: dict[str, Any]) -> str:
    """Returns the official table: PQ, SQ and RQ in percent and the number of categories that occur."""
    lines = [f"{'':10s}| {'PQ':>5s}  {'SQ':>5s}  {'RQ':>5s} {'N':>5s}", "-" * 38]
    for name, row in document["summary"].items():
        pq, sq, rq = (100 * row[key] for key in ("pq", "sq", "rq"))
        lines.append(f"{name:10s}| {pq:5.1f}  {sq:5.1f}  {rq:5.1f} {row['n']:5d}")
    return "\n".join(lines)


def _predict(args: argparse.Namespace) -> tuple[str, str]:
    """Runs the model and returns the json paths of truth and predictions."""
    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    from components.panoptic_evaluator.coco_files import submission

    truth_json = os.path.join(args.data, "annotations", f"panoptic_{args.split}.json")
    photos_dir = os.path.join(args.data, args.split)
    predictions_json = os.path.join(args.predictions, _PREDICTIONS_JSON)
    submission.write_submission(args.model, truth_json, photos_dir, predictions_json, args.num_workers)
    return truth_json, predictions_json


def _folder_beside(truth_json: str, args: argparse.Namespace) -> str | None:
    """Returns the folder of the PNGs beside that of the photos, where a --data has it there and not beside the json."""
    folder = os.path.join(args.data, f"panoptic_{args.split}") if args.data else ""
    is_beside_json = os.path.isdir(truth_json.removesuffix(".json"))
    return folder if folder and not is_beside_json and os.path.isdir(folder) else None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    args = parse_args(sys.argv[1:] if argv is None else argv)
    return run_command("evaluate", lambda: _evaluate(args), status=EXIT_WRONG_INPUT)


def _evaluate(args: argparse.Namespace) -> int:
    document = _of_folder(args) if args.model and not args.predictions else _of_files(args)
    if args.output:
        pathlib.Path(args.output).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return 0


def _of_folder(args: argparse.Namespace) -> dict[str, Any]:
    """Scores a model on a data folder of any form; prints and returns the numbers."""
    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    from components.coco_example_gen.options import IngestOptions
    from components.panoptic_evaluator.folder_evaluation import evaluate_folder, skipped_lines
    from maskformer_model.config.scores import SCORE_LABELS
    from maskformer_model.metrics.average_precision import counted_words
    from maskformer_model.metrics.panoptic_quality import panoptic_quality

    things, stuff = (tuple(filter(None, names.split(","))) for names in (args.things, args.stuff))
    options = IngestOptions(layout=args.layout, things=things, stuff=stuff, unlabeled=args.unlabeled)
    found = evaluate_folder(args.model, args.data, args.split, options)
    quality = panoptic_quality(found.counts, found.categories.isthing)
    document = results_document(quality, found.counts, found.categories)
    document |= {
        "scores": found.scores,
        "photos": found.num_photos,
        "skipped": list(found.skipped),
        "layout": found.source,
    }
    print(table(document))
    print(", ".join(f"{SCORE_LABELS[name]} {value:.4f}" for name, value in found.scores.items()))
    if "ap" in found.scores and (words := counted_words(found.max_instances)):
        print(f"AP counts {words}.")
    if found.as_background:
        names = ", ".join(found.as_background)
        print(f"The data names things only, so what the model calls {names} counts as background.")
    lines = [f"Of {found.num_photos} photos (layout {found.source}); skipped: {len(found.skipped)}"]
    print("\n".join(lines + skipped_lines(found.skipped)))
    return document


def _of_files(args: argparse.Namespace) -> dict[str, Any]:
    """Scores the files of truth and predictions, which may have to be predicted first; prints and returns numbers."""
    from maskformer_model.data.stated_extents import JSON, areas_of
    from maskformer_model.metrics.panoptic_quality import panoptic_quality

    truth_json, predictions_json = _predict(args) if args.model else (args.gt_json_file, args.pred_json_file)
    areas = args.areas or areas_of(truth_json)
    truth_folder = args.gt_folder or _folder_beside(truth_json, args)
    counts, categories = evaluate_files(
        truth_json, predictions_json, truth_folder, args.pred_folder, args.num_workers, areas
    )
    document = results_document(panoptic_quality(counts, categories.isthing), counts, categories)
    document["areas"] = areas
    print(table(document))
    if areas == JSON:
        print("Areas of true segments are those of the json, where they are larger than the segments (--areas json).")
    return document


if __name__ == "__main__":
    sys.exit(main())
