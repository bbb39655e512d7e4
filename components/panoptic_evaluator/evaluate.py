"""Prints the panoptic quality of predictions in COCO's format, or of a SavedModel on a COCO folder.

    python -m components.panoptic_evaluator.evaluate --gt_json_file truth.json --pred_json_file predictions.json
    python -m components.panoptic_evaluator.evaluate --model DIR --data DIR --predictions DIR

Flags, table and numbers are those of COCO's official evaluation; bad input is an error and never a better score. Exit
status: 0, or 2 if the input is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from maskformer_model.command_errors import run_command
from maskformer_model.command_parser import CommandParser

if TYPE_CHECKING:
    from maskformer_model.categories import CategoryTable
    from maskformer_model.metrics.panoptic_quality import PanopticCounts, PanopticQuality

EXIT_WRONG_INPUT = 2
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
    add("--data", metavar="DIR", help="folder in COCO's panoptic layout, instead of --gt_json_file")
    add("--split", default="val2017", help="folder of photos in --data (default: %(default)s)")
    add(
        "--predictions",
        metavar="DIR",
        help="folder for predictions.json and its PNGs with --model; must be empty or new",
    )
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
        help="processes (default: all cores)",
    )
    args = parser.parse_args(argv)
    if args.model or args.data or args.predictions:
        if not (args.model and args.data and args.predictions):
            parser.error("--model, --data and --predictions belong together")
        if args.gt_json_file or args.pred_json_file or args.gt_folder or args.pred_folder:
            parser.error("give either --model with --data, or files of truth and predictions")
    elif not (args.gt_json_file and args.pred_json_file):
        parser.error("--gt_json_file and --pred_json_file are needed, or --model with --data and --predictions")
    if args.num_workers < 1:
        parser.error(f"--num_workers must be positive. Received: {args.num_workers}")
    if args.output and (os.path.isdir(args.output) or not os.path.isdir(os.path.dirname(args.output) or ".")):
        parser.error(f"--output must be a file in a folder that exists. Received: {args.output}")
    return args


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
    if args.output:
        pathlib.Path(args.output).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
