r"""What serving settings of a trained model cost and bring: milliseconds from bytes to map, and the score.

    python -m benchmarks.learning.pq_per_ms --weights DIR --data DIR --figure FILE

The training in `--weights` is exported once for each combination of `--dtypes` and `--scales` (of the experiment's
`task.inference.shortest_edge_px`). All exports answer every photo of the data's eval split, in turns, so other work on
the machine meets all of them. The time of a photo is that of the second of two calls, because the first call with a
size prepares for it; shown is the median over the photos. Differences are to the first setting, with the 95 % interval
of a paired bootstrap over the photos.

`--peers FILE ...` names results of `benchmarks.learning.huggingface`, whose weights lie beside them. These models take
their turns too, from the same bytes to the segment ids, once for each of `--peer_settings`; ours also writes the map
as a PNG. Compiled networks and engines are prepared for each size of a photo, which takes a while.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.contestants import torch_settings
from maskformer_model.config.files import WEIGHTS_FILE

if TYPE_CHECKING:
    from benchmarks.learning.photos import Photos
    from benchmarks.learning.results import Result
    from components.panoptic_predictor.image_measures import ImageMeasures
    from maskformer_model.data.examples import ExampleRecord

FLOAT32, BFLOAT16 = "float32", "bfloat16"


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, metavar="DIR", help="--model_dir of the training")
    parser.add_argument("--data", required=True, metavar="DIR", help="the data folder, with photos to score on")
    parser.add_argument("--records", metavar="DIR", help="folder for the records (default: a temporary one)")
    parser.add_argument("--dtypes", nargs="+", default=[FLOAT32, BFLOAT16], choices=[FLOAT32, BFLOAT16])
    parser.add_argument("--scales", nargs="+", type=float, default=[1.0, 0.75, 0.5], help="of the photo's edge")
    parser.add_argument("--peers", nargs="*", default=[], metavar="FILE", help="json files of trained peers")
    settings = (*torch_settings.SETTINGS, *torch_settings.HALF_SETTINGS)
    parser.add_argument("--peer_settings", nargs="+", default=[torch_settings.CHANNELS_LAST], choices=settings)
    parser.add_argument("--threads", type=int, default=2, help="threads that answer (default: %(default)s)")
    parser.add_argument("--resamples", type=int, default=1000, help="resamples of the photos (default: %(default)s)")
    parser.add_argument("--figure", type=pathlib.Path, metavar="FILE", help="an SVG file to write")
    return parser


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What takes turns.

    Attributes:
        line: What it has in common with the others on its line of the figure: a precision, or a peer.
        edge_px: `task.inference.shortest_edge_px`.
        answer: Takes a photo; its time counts.
        measures: Takes the photo and the answer and returns the counts.
    """

    line: str
    edge_px: int
    answer: Callable[[ExampleRecord], Any]
    measures: Callable[[ExampleRecord, Any], ImageMeasures]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A setting after its turns.

    Attributes:
        line: As in `Setting`.
        edge_px: As in `Setting`.
        photo_ms: The time of each photo.
        result: The scores, with the counts of each photo.
    """

    line: str
    edge_px: int
    photo_ms: Sequence[float]
    result: Result

    @property
    def name(self) -> str:
        """Returns the setting in words."""
        return self.result.model

    @property
    def median_ms(self) -> float:
        """Returns the median over the photos."""
        return statistics.median(self.photo_ms)


def main(arguments: list[str] | None = None) -> int:
    """Prints the table and writes the figure."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if not os.path.isfile(os.path.join(options.weights, WEIGHTS_FILE)):
        parser.error(f"--weights must hold a training that has ended, with {WEIGHTS_FILE}. Received: {options.weights}")
    if options.peers and options.threads != torch_settings.NUM_THREADS:
        parser.error(f"Peers have {torch_settings.NUM_THREADS} threads. Received: --threads {options.threads}")

    from maskformer_model.backend.quiet_start import import_tensorflow

    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(options.threads)
    import_tensorflow()
    from benchmarks.learning import photos
    from maskformer_model.export import assets
    from maskformer_model.export_weights import read_experiment

    assets.keep_packed_weights({assets.CONSTANT_FILTERS: True})  # As the server does.
    with tempfile.TemporaryDirectory() as folder:
        records_dir = options.records or os.path.join(folder, "records")
        data = photos.read(options.data, records_dir, read_experiment(options.weights))
        measured = run(data, options, folder)
    print_table(measured, options.resamples)
    if options.figure:
        options.figure.write_text(draw(measured), encoding="utf-8")
    return 0


def run(data: Photos, options: argparse.Namespace, folder: str) -> list[Measured]:
    """Exports and measures every setting; the exports are written into `folder`."""
    from benchmarks.learning.results import Result

    settings = [*_ours(data, options, folder), *_peers(data, options)]
    photo_ms: list[list[float]] = [[] for _ in settings]
    measures: list[dict[str, Any]] = [{} for _ in settings]
    for record in data.truth():
        for number, setting in enumerate(settings):
            setting.answer(record)
            start = time.perf_counter()
            answer = setting.answer(record)
            photo_ms[number].append(1000 * (time.perf_counter() - start))
            measures[number][record.filename] = setting.measures(record, answer)
    return [
        Measured(
            line=setting.line,
            edge_px=setting.edge_px,
            photo_ms=times,
            result=Result(
                model=f"{setting.line}, {setting.edge_px} px",
                task=data.config.task.kind,
                steps=0,
                seconds=None,
                settings={},
                categories=data.categories,
                measures=counts,
            ),
        )
        for setting, times, counts in zip(settings, photo_ms, measures, strict=True)
    ]


def _ours(data: Photos, options: argparse.Namespace, folder: str) -> Iterator[Setting]:
    from components.panoptic_predictor.prediction_step import count_prediction
    from components.panoptic_predictor.serving_model import ServingModel

    def answer(model: ServingModel, record: ExampleRecord) -> Any:
        return model.predict_task([record.image_encoded])[0]

    def measures(model: ServingModel, record: ExampleRecord, answer: Any) -> ImageMeasures:
        isthing = data.categories.isthing
        return count_prediction(record, answer, isthing, max_instances=model.max_instances).measures

    for (dtype, edge_px), path in _export_all(options, folder, data.config.task.inference.shortest_edge_px).items():
        model = ServingModel(path)
        of_model = functools.partial(answer, model), functools.partial(measures, model)
        yield Setting(line=dtype, edge_px=edge_px, answer=of_model[0], measures=of_model[1])


def _peers(data: Photos, options: argparse.Namespace) -> Iterator[Setting]:
    if not options.peers:
        return
    import torch

    from benchmarks.learning import huggingface

    torch.set_num_threads(options.threads)
    for path, setting in itertools.product(options.peers, options.peer_settings):
        name, model = huggingface.load(path, data)
        trained = huggingface.TrainedPeer(name, model, data, setting, compares=True)
        yield Setting(
            line=f"{huggingface.NAMES[name]}, {torch_settings.name_of(setting)}",
            edge_px=data.config.task.inference.shortest_edge_px,
            answer=trained.answer,
            measures=trained.measures,
        )


def _export_all(options: argparse.Namespace, folder: str, whole_edge_px: int) -> Mapping[tuple[str, int], str]:
    from maskformer_model.export_weights import export

    exported = {}
    for scale, dtype in itertools.product(options.scales, options.dtypes):
        edge_px = round(whole_edge_px * scale)
        path = os.path.join(folder, f"{dtype}-{edge_px}")
        inference = {"mixed_precision_dtype": dtype, "shortest_edge_px": edge_px}
        export(options.weights, path, overrides=",".join(f"task.inference.{k}={v}" for k, v in inference.items()))
        exported[dtype, edge_px] = path
    return exported


def print_table(measured: Sequence[Measured], num_resamples: int) -> None:
    """Prints a row for each setting."""
    from rich.console import Console
    from rich.table import Table

    from benchmarks.learning.compare import differences, interval_in_words
    from benchmarks.learning.results import shown_scores

    first = measured[0]
    names = [name for name in shown_scores(first.result.task) if name in first.result.scores()]
    table = Table(title=f"{len(first.photo_ms)} photos; difference: to {first.name}, with its 95 % interval")
    for heading in ("setting", "ms", "of the first", *(f"{n}{d}" for n in names for d in ("", " difference"))):
        table.add_column(heading, overflow="fold")
    for each in measured:
        scores = each.result.scores()
        changes = {} if each is first else differences(each.result, first.result, num_resamples)
        cells = [(f"{scores[name]:.4f}", interval_in_words(changes.get(name))) for name in names]
        times = f"{each.median_ms:.1f}", f"{each.median_ms / first.median_ms:.2f}"
        table.add_row(each.name, *times, *(cell for pair in cells for cell in pair))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def draw(measured: Sequence[Measured]) -> str:
    """Returns an SVG of score over milliseconds, both from 0 on, with a line for each precision and peer."""
    from benchmarks.learning.chart import COLORS, LETTER_PX, TOP, Chart
    from benchmarks.learning.results import shown_scores
    from maskformer_model.config.scores import SCORE_LABELS

    score = shown_scores(measured[0].result.task)[0]
    points = {id(each): (each.median_ms, each.result.scores()[score]) for each in measured}
    times, values = zip(*points.values(), strict=True)
    margin_px = max(170, LETTER_PX * max(len(each.line) for each in measured) + 34)
    chart = Chart(times, values, "ms from bytes to map", SCORE_LABELS[score], margin_px=margin_px)
    lines = list(dict.fromkeys(each.line for each in measured))
    for number, (line, color) in enumerate(zip(lines, itertools.cycle(COLORS), strict=False)):
        of_line = [each for each in measured if each.line == line]
        places = chart.line([points[id(each)] for each in of_line], color)
        # Above the points of the first line, below those of the others.
        offset_px = 18 if number else -9
        if len(of_line) > 1:  # A point alone is at the whole size.
            for each, (x, y) in zip(of_line, places, strict=True):
                chart.write(x, y + offset_px, str(each.edge_px), anchor="middle")
        legend_y = TOP + 18 * number
        chart.dot(chart.right_px + 24, legend_y - 4, color)
        chart.write(chart.right_px + 34, legend_y, line)
    notes_y = TOP + 18 * (len(lines) + 1)
    chart.write(chart.right_px + 20, notes_y, "numbers: shorter edge", color="#525252")
    chart.write(chart.right_px + 20, notes_y + 16, "of the photo in px", color="#525252")
    return chart.svg()


if __name__ == "__main__":
    sys.exit(main())
