"""Counting matches and the whole evaluation command against COCO's official panopticapi, on the golden predictions.

panopticapi is in no lock: install it, or name a checkout of github.com/cocodataset/panopticapi in PANOPTICAPI_DIR.
Needs the folder `shared` beside the checkout (60 photos of COCO's val2017). Every process runs on one core.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import importlib.util
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks.row import Row, main

PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
SHARED_DIR = PROJECT_DIR.parent / "shared"
TRUTH = SHARED_DIR / "data/coco_panoptic/annotations/panoptic_val2017.json"
PREDICTIONS = SHARED_DIR / "data/golden/panoptic_quality/predictions.json"
TURNS = 7
COPIES = 10
HOW_TO_GET = "panopticapi is not there: set PANOPTICAPI_DIR to a checkout of github.com/cocodataset/panopticapi"

# Pillow passes over checksums when it loads; `verify` reads them and leaves an image that cannot be loaded.
PILLOW_READS = """
import io, sys
import numpy as np
from PIL import Image
from components.panoptic_evaluator import evaluate
from maskformer_model.data import panoptic_png

def decode(png_bytes):
    Image.open(io.BytesIO(png_bytes), formats=("PNG",)).verify()
    image = Image.open(io.BytesIO(png_bytes), formats=("PNG",))
    ids = np.frombuffer(image.tobytes("raw", "RGBX"), "<i4").reshape(image.height, image.width)
    return ids & panoptic_png.MAX_SEGMENT_ID

panoptic_png.decode_panoptic_png = decode
evaluate.main(sys.argv[1:])
"""


def official_dir() -> str | None:
    """Where panopticapi can be imported from; None where it cannot."""
    folder = os.environ.get("PANOPTICAPI_DIR", "")
    if folder and not os.path.isdir(os.path.join(folder, "panopticapi")):
        raise SystemExit(f"PANOPTICAPI_DIR must be a checkout of panopticapi. Received: {folder}")
    return folder if folder or importlib.util.find_spec("panopticapi") else None


def measure() -> Iterator[Row]:
    """Matching and counting, the command on one core and on two, and its peak memory."""
    official = official_dir()
    if hasattr(os, "sched_setaffinity"):
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
        yield from one_core_rows(official)
        os.sched_setaffinity(0, cores)
        yield from worker_rows(min(2, len(cores)))
    yield memory_row()


def one_core_rows(official: str | None) -> Iterator[Row]:
    """Ours and the official one in turns, so that a loaded machine slows both."""
    ours, theirs, commands, pillow_commands, official_commands = [], [], [], [], []
    for _ in range(TURNS):
        ours.append(seconds_to_count())
        commands.append(_cpu_seconds(*_our_command(1)))
        pillow_commands.append(_cpu_seconds("-c", PILLOW_READS, *_our_command(1)[2:]))
        if official is not None:
            theirs.append(seconds_of_official_counting(official))
            official_commands.append(_cpu_seconds(*_official_command(), pythonpath=official))
    if official is not None:
        require_equal(official)
    remark = f"CPU time, shortest of {TURNS} turns" if official is not None else HOW_TO_GET
    for name, unit, factor, our_times, peer_times, share in (
        ("match and count the segments of one COCO photo, without decoding", "ms", 1e3, ours, theirs, 1 / 3),
        ("evaluation command, 60 COCO photos, one core", "s", 1.0, commands, official_commands, 1 / 1.5),
        ("the same, PNGs read by Pillow's Image.open: not used", "s", 1.0, pillow_commands, official_commands, None),
    ):
        mine = factor * min(our_times)
        peer = factor * min(peer_times) if peer_times else None
        yield Row(
            name=name,
            ours=mine,
            unit=unit,
            peer=peer,
            peer_name="panopticapi, pq_compute_single_core on decoded maps" if unit == "ms" else "panopticapi",
            bar=f"at most {share:.2f} of the peer's time" if share else "",
            passed=None if peer is None or share is None else mine <= share * peer,
            remark=remark,
        )


def worker_rows(num_workers: int) -> Iterator[Row]:
    """Ten times the photos, by one worker and by more; and what the machine's cores give at this time."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as part_folder:
        files = _repeated_files(folder, COPIES)
        part = _our_command(1, *_repeated_files(part_folder, COPIES // num_workers))
        ways: dict[str, Callable[[], object]] = {
            "one": functools.partial(_run, *_our_command(1, *files)),
            "workers": functools.partial(_run, *_our_command(num_workers, *files)),
            "commands": functools.partial(_run_together, [part] * num_workers),
        }
        # In turns, so that a loaded machine slows all.
        turns = [{way: _seconds(work) for way, work in ways.items()} for _ in range(3)]
    times = {way: statistics.median(turn[way] for turn in turns) for way in ways}
    is_limited = num_workers > 1
    yield Row(
        name=f"evaluation command, {60 * COPIES} COCO photos, {num_workers} workers",
        ours=times["workers"],
        unit="s",
        peer=times["one"],
        peer_name="1 worker",
        bar="at most 0.65 of the time of one worker" if is_limited else "",
        passed=times["workers"] <= 0.65 * times["one"] if is_limited else None,
        remark="median of 3 turns",
    )
    yield Row(
        name=f"the same photos in {num_workers} commands at the same time, which share nothing",
        ours=times["commands"],
        unit="s",
        peer=times["one"],
        peer_name="1 worker",
        remark="what the cores give now: above 0.65, other programs use them and the row above says nothing",
    )


def memory_row() -> Row:
    """Peak memory of the command for 600 photos beside that for 60."""
    with tempfile.TemporaryDirectory() as folder:
        many = _peak_mb(*_repeated_files(folder, COPIES))
    few = _peak_mb(TRUTH, PREDICTIONS)
    return Row(
        name=f"peak memory of the evaluation command, {60 * COPIES} COCO photos",
        ours=many,
        unit="MB",
        peer=few,
        peer_name="60 photos",
        bar="at most 1.2 of it",
        passed=many <= 1.2 * few,
        remark="what is more is the json itself",
    )


def seconds_to_count() -> float:
    """Per photo: from decoded maps and json entries to counts."""
    from components.panoptic_evaluator.coco_files import pairs as coco_files_pairs
    from maskformer_model.data import panoptic_png
    from maskformer_model.metrics.panoptic_quality import PanopticCounts, count_image, segments_from_coco

    truth, prediction = (coco_files_pairs.PanopticDataset.load(path) for path in (TRUTH, PREDICTIONS))
    pairs, categories = coco_files_pairs.pair_images(truth, prediction)
    total, seconds = PanopticCounts.zeros(categories.num_classes), 0.0
    for pair in pairs:
        maps = [
            panoptic_png.decode_panoptic_png((folder / annotation["file_name"]).read_bytes())
            for annotation, folder in ((pair.truth, truth.folder), (pair.prediction, prediction.folder))
        ]
        start = time.process_time()
        segments = [segments_from_coco(a["segments_info"], categories) for a in (pair.truth, pair.prediction)]
        total += count_image(maps[0], segments[0], maps[1], segments[1], categories.num_classes)
        seconds += time.process_time() - start
    return seconds / len(pairs)


def seconds_of_official_counting(official: str) -> float:
    """Per photo: the official function, which is handed decoded maps where it asks for files."""
    import io
    import types

    import numpy as np

    from maskformer_model.data import panoptic_png

    evaluation, _ = _import_official(official)
    truth, prediction = (json.loads(path.read_text(encoding="utf-8")) for path in (TRUTH, PREDICTIONS))
    of_image = {annotation["image_id"]: annotation for annotation in prediction["annotations"]}
    folders = [str(path.with_suffix("")) for path in (TRUTH, PREDICTIONS)]
    categories = {category["id"]: category for category in truth["categories"]}
    seconds = 0.0
    for annotation in truth["annotations"]:
        pair = (annotation, of_image[annotation["image_id"]])
        count = functools.partial(evaluation.pq_compute_single_core, 0, [pair], *folders, categories)
        # Decoded one by one, as ours are, so that neither finds more in the processor's caches.
        maps = {
            path: _Decoded(panoptic_png.decode_panoptic_png(pathlib.Path(path).read_bytes()))
            for path in (os.path.join(folder, one["file_name"]) for one, folder in zip(pair, folders, strict=True))
        }
        decoded = types.SimpleNamespace(open=maps.__getitem__)
        with _replaced(evaluation, Image=decoded, rgb2id=np.asarray), contextlib.redirect_stdout(io.StringIO()):
            seconds += _process_seconds(count)
    return seconds / len(of_image)


class _Decoded:
    """What `numpy.array` takes for a decoded image, without copying it."""

    def __init__(self, segment_ids):
        self._segment_ids = segment_ids.astype("uint32")

    def __array__(self, dtype=None, copy=None):
        return self._segment_ids


@contextlib.contextmanager
def _replaced(module, **values):
    """Gives a module other global names for a while."""
    former = {name: getattr(module, name) for name in values}
    vars(module).update(values)
    try:
        yield
    finally:
        vars(module).update(former)


def require_equal(official: str) -> None:
    """Stops unless both give the same counts: a fast wrong answer is no answer."""
    import io

    from components.panoptic_evaluator.evaluate import evaluate_files, results_document
    from maskformer_model.metrics.panoptic_quality import panoptic_quality

    evaluation, _ = _import_official(official)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = evaluation.pq_compute(str(TRUTH), str(PREDICTIONS))
    counts, categories = evaluate_files(str(TRUTH), str(PREDICTIONS))
    ours = results_document(panoptic_quality(counts, categories.isthing), counts, categories)
    for name in ("All", "Things", "Stuff"):
        for key, value in theirs[name].items():
            if abs(ours["summary"][name][key] - value) > 1e-9:
                raise SystemExit(f"The two evaluations differ in {name} {key}: {ours['summary'][name][key]}, {value}")


def _import_official(folder: str):
    if folder and folder not in sys.path:
        sys.path.append(folder)
    from panopticapi import evaluation
    from panopticapi.utils import rgb2id

    return evaluation, rgb2id


def _repeated_files(folder: str, copies: int) -> tuple[pathlib.Path, pathlib.Path]:
    """The same photos several times, under other ids and with PNGs of other names."""
    paths = []
    for name, source in (("truth", TRUTH), ("predictions", PREDICTIONS)):
        document = json.loads(source.read_text(encoding="utf-8"))
        for key, field in (("annotations", "image_id"), ("images", "id")):
            document[key] = [
                entry | {field: entry[field] + 1_000_000 * copy} for copy in range(copies) for entry in document[key]
            ]
        for place, entry in enumerate(document["annotations"]):
            copy = place * copies // len(document["annotations"])
            entry["file_name"] = f"{copy}/{entry['file_name']}"
        path = pathlib.Path(folder, f"{name}.json")
        path.write_text(json.dumps(document), encoding="utf-8")
        path.with_suffix("").mkdir()
        for copy in range(copies):
            (path.with_suffix("") / str(copy)).symlink_to(source.with_suffix(""))
        paths.append(path)
    return paths[0], paths[1]


def _our_command(num_workers: int, truth=TRUTH, predictions=PREDICTIONS) -> list[str]:
    files = ["--gt_json_file", str(truth), "--pred_json_file", str(predictions)]
    return ["-m", "components.panoptic_evaluator.evaluate", *files, "--num_workers", str(num_workers)]


def _official_command() -> list[str]:
    return ["-m", "panopticapi.evaluation", "--gt_json_file", str(TRUTH), "--pred_json_file", str(PREDICTIONS)]


def _peak_mb(truth, predictions) -> float:
    arguments = _our_command(1, truth, predictions)[2:]
    program = (
        # Not getrusage, whose peak is that of the process that started this one where that was larger.
        "import sys; from components.panoptic_evaluator import evaluate; evaluate.main(sys.argv[1:]); "
        "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')))"
    )
    return float(_run("-c", program, *arguments).splitlines()[-1]) / 1024


def _run(*arguments: str, pythonpath: str = "") -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(PROJECT_DIR), pythonpath)))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def _run_together(commands: Sequence[list[str]]) -> None:
    """Runs commands at the same time and waits for all."""
    with concurrent.futures.ThreadPoolExecutor(len(commands)) as pool:
        list(pool.map(lambda command: _run(*command), commands))


def _cpu_seconds(*arguments: str, pythonpath: str = "") -> float:
    """CPU time of a command and its processes, which other programs on the machine hardly change."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(*arguments, pythonpath=pythonpath)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _process_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(measure)
