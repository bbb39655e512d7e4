"""Scores what `maskformer train` left in a folder: `python -m benchmarks.learning.ours --weights DIR --data DIR ...`.

The network answers through the functions that are exported, as at the end of a training. The time is that of the
training's history, which counts the scorings of `trainer.validation_interval`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import TYPE_CHECKING

from maskformer_model.config.files import EXPERIMENT_FILE, HISTORY_FILE

if TYPE_CHECKING:
    from benchmarks.learning.photos import Photos
    from benchmarks.learning.results import Result


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--weights", required=True, type=pathlib.Path, metavar="DIR", help="--model_dir of the training"
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="the data folder, with photos to score on")
    parser.add_argument("--records", metavar="DIR", help="folder for the records (default: beside the output)")
    parser.add_argument("--threads", type=int, help="threads that the training had, for the table")
    parser.add_argument("--name", default="ours", help="the model's name in tables (default: %(default)s)")
    parser.add_argument("--output", required=True, metavar="FILE", help="json file to write")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Writes the json file and prints the scores."""
    options = make_parser().parse_args(arguments)

    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    from benchmarks.learning import photos
    from maskformer_model.config import from_dict

    config = from_dict(json.loads((options.weights / EXPERIMENT_FILE).read_text("utf-8")))
    records_dir = options.records or photos.records_beside(options.output, options.data)
    result = run(photos.read(options.data, records_dir, config), options)
    result.save(options.output)
    print(", ".join(f"{name} {value:.4f}" for name, value in result.scores().items()))
    return 0


def run(data: Photos, options: argparse.Namespace) -> Result:
    """Returns the `Result` of the training in `options.weights`, scored on `data.val_files`."""
    from benchmarks.learning import results
    from maskformer_model.config import to_dict
    from maskformer_model.pretrained.initialize import build_network, initialize
    from maskformer_model.training.evaluator import Evaluator

    task, measures = data.config.task, {}
    network = build_network(task.model)
    initialize(network, str(options.weights), "all", categories=data.categories)

    def count(record, answer):
        measures[record.filename] = results.measure(
            record,
            data.categories,
            answer["segment_ids"],
            answer["segments"],
            instances=answer["instances"],
            max_instances=task.inference.max_instances,
        )

    Evaluator(network, data.categories, data.config, [data.val_files]).evaluate(count)
    last = json.loads((options.weights / HISTORY_FILE).read_text("utf-8"))[-1]
    return results.Result(
        model=options.name,
        task=task.kind,
        steps=int(last["step"]),
        seconds=float(last["seconds"]),
        settings={"threads": options.threads, "experiment": to_dict(data.config)},
        categories=data.categories,
        measures=measures,
    )


if __name__ == "__main__":
    sys.exit(main())
