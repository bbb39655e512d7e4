"""What ingest and evaluation cost as the data grows: slopes from three sizes, and what they give for far more photos.

Every command runs in a process of its own, one worker. The photos are 16 of 480x640, linked under many names.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

from benchmarks.ingest import PHOTO_SIZE, write_photos
from benchmarks.row import Row, main

SIZES = (1_000, 4_000, 16_000)
EXTRAPOLATED = (118_000, 10_000_000, 100_000_000)
PHOTOS_PER_SHARD = 256  # The pipeline's default.
MOST_GROWTH = 1.2
PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
_RUN = (
    "import json, resource, runpy, sys; sys.argv = sys.argv[1:]; status = 0\n"
    "try: runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
    "except SystemExit as end: status = end.code or 0\n"
    "used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
    # Not `ru_maxrss`, which is that of the process that started this one where that was larger.
    "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
    "seconds = sum(one.ru_utime + one.ru_stime for one in used)\n"
    "print(json.dumps({'status': status, 'seconds': seconds, 'peak_bytes': 1024 * int(peak)}))"
)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: Processor time, of its processes too.
        peak_bytes: Largest resident size.
    """

    seconds: float
    peak_bytes: float


def measure() -> Iterator[Row]:
    """Processor time and memory per photo of three commands, and the size of what ingest writes and shuffles.

    Raises:
        RuntimeError: if a command fails.
    """
    costs: dict[str, list[Cost]] = {}
    for num_photos in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            write_photos(root, num_photos)
            for what, command in commands(root, num_photos).items():
                costs.setdefault(what, []).append(run(command))
            written = [path.stat().st_size for path in (root / "records").glob("*.tfrecord")]
            shuffled = bytes_in_shuffle(root)
    for what, of_sizes in costs.items():
        yield _time_row(what, [cost.seconds for cost in of_sizes])
        yield _memory_row(what, [cost.peak_bytes for cost in of_sizes])
    yield Row(
        name="ingest, record files",
        ours=sum(written) / SIZES[-1] / 1e3,
        unit="kB per photo",
        remark=_extrapolated(lambda photos: f"{sum(written) / SIZES[-1] * photos / 1e12:.2g} TB")
        + _extrapolated(lambda photos: f"{photos / PHOTOS_PER_SHARD:,.0f} files"),
    )
    yield Row(
        name="ingest, what Beam's shuffle moves: the plans of shards",
        ours=shuffled / SIZES[-1],
        unit="bytes per photo",
        remark=_extrapolated(lambda photos: f"{shuffled / SIZES[-1] * photos / 1e6:.2g} MB"),
    )


def commands(root: pathlib.Path, num_photos: int) -> dict[str, list[str]]:
    """Returns the module and the flags of each command."""
    truth = root / "annotations" / "panoptic_train2017.json"
    return {
        "hashing (`manifest write`)": ["components.coco_example_gen.manifest", "write", str(root)],
        "ingest": [
            "components.coco_example_gen.create_coco_tf_record",
            f"--image_dir={root / 'train2017'}",
            f"--panoptic_annotations_file={truth}",
            f"--panoptic_masks_dir={truth.with_suffix('')}",
            f"--num_shards={-(-num_photos // PHOTOS_PER_SHARD)}",
            "--num_processes=1",
            f"--output_file_prefix={root / 'records' / 'train'}",
        ],
        "evaluation command": [
            "components.panoptic_evaluator.evaluate",
            f"--gt_json_file={truth}",
            f"--pred_json_file={truth}",
            "--num_workers=1",
        ],
    }


def run(command: list[str]) -> Cost:
    """Runs a module.

    Raises:
        RuntimeError: if it fails.
    """
    done = subprocess.run([sys.executable, "-c", _RUN, *command], cwd=PROJECT_DIR, capture_output=True, text=True)
    last = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"status": done.returncode}
    if done.returncode or last["status"]:
        raise RuntimeError(f"{command[0]} failed: {(done.stdout + done.stderr)[-600:]}")
    return Cost(last["seconds"], last["peak_bytes"])


def bytes_in_shuffle(root: pathlib.Path) -> int:
    """Returns how many bytes the elements have that ingest sends through Beam's shuffle."""
    import os

    from components.coco_example_gen.layouts.published import find_sources
    from components.coco_example_gen.records.reference_files import SplitRequest, plan_split

    source = find_sources(str(root), ["train"], os.path.exists)["train"]
    with tempfile.TemporaryDirectory() as work:
        return sum(len(pickle.dumps(shard)) for shard in plan_split(SplitRequest(split="train"), source, work).shards)


def slopes(values: list[float]) -> tuple[float, float]:
    """Returns how much a photo adds between the first two sizes, and between the last two."""
    first, middle, last = values
    return (middle - first) / (SIZES[1] - SIZES[0]), (last - middle) / (SIZES[2] - SIZES[1])


def _time_row(what: str, seconds: list[float]) -> Row:
    early, late = slopes(seconds)
    return Row(
        name=f"{what}, photos of {PHOTO_SIZE[0]}x{PHOTO_SIZE[1]}, from {SIZES[1]} to {SIZES[2]}",
        ours=1e3 * late,
        unit="ms per photo",
        peer=1e3 * early,
        peer_name=f"from {SIZES[0]} to {SIZES[1]}",
        bar=f"at most {MOST_GROWTH} times as much: no more than linear",
        passed=late <= MOST_GROWTH * early,
        remark="processor time; " + _extrapolated(lambda photos: f"{late * photos / 3600:.2g} h of one core"),
    )


def _memory_row(what: str, peak_bytes: list[float]) -> Row:
    early, late = slopes(peak_bytes)
    return Row(
        name=f"{what}, memory, from {SIZES[1]} to {SIZES[2]}",
        ours=late / 1e3,
        unit="kB per photo",
        peer=early / 1e3,
        peer_name=f"from {SIZES[0]} to {SIZES[1]}",
        remark=f"{peak_bytes[0] / 1e6:.0f} MB with {SIZES[0]}; "
        + _extrapolated(lambda photos: f"{(peak_bytes[-1] + late * (photos - SIZES[-1])) / 1e9:.2g} GB"),
    )


def _extrapolated(cost: Callable[[int], str]) -> str:
    return "".join(f"{photos / 1e6:g} M: {cost(photos)}; " for photos in EXTRAPOLATED)


if __name__ == "__main__":
    main(measure)
