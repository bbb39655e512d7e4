"""Ingest and bulk prediction on worker processes of Dask, beside Beam's runner in one process: the same bytes.

Dask is in no lock: `pip install dask distributed`, in the versions of Beam's extra `dask`. Each command runs twice on
the same workers, which import TensorFlow at their first task; the second run is measured.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks.ingest import NUM_PHOTOS, PHOTO_SIZE, write_photos
from benchmarks.row import Row, main

NUM_WORKERS = (1, 2, 4)
NUM_SHARDS = 16
PROJECT_DIR = pathlib.Path(__file__).resolve().parent.parent
HOW_TO_GET = "Dask is not there: pip install dask distributed"
# A shard is one element, and by default Dask would hand all of them to one worker.
RUNNER = ("--runner=apache_beam.runners.dask.dask_runner.DaskRunner", "--dask_partition_size=1")


def measure() -> Iterator[Row]:
    """Both commands with one, two and four workers; in one process only where Dask is not installed.

    Raises:
        CalledProcessError: if a command fails.
        SystemExit: if the bytes differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        write_photos(root)
        model_dir = write_model(root / "model")
        commands = {
            f"ingest of {NUM_PHOTOS} photos of {PHOTO_SIZE[0]}x{PHOTO_SIZE[1]}": ingest_command(root),
            f"bulk prediction of {NUM_PHOTOS} photos": predict_command(root, model_dir),
        }
        alone = {what: timed(command, root / "alone") for what, command in commands.items()}
        if importlib.util.find_spec("distributed") is None:
            for what, (seconds, _) in alone.items():
                yield Row(name=f"{what}, one process", ours=seconds, unit="s", remark=HOW_TO_GET)
            return
        for num_workers in NUM_WORKERS:
            with workers(num_workers) as address:
                beam_flags = [*RUNNER, f"--dask_client_address={address}"]
                for what, command in commands.items():
                    timed([*command, *beam_flags], root / "first")
                    seconds, digests = timed([*command, *beam_flags], root / "second")
                    peer_seconds, peer_digests = alone[what]
                    if digests != peer_digests:
                        raise SystemExit(f"{what}: {num_workers} workers wrote other bytes than one process.")
                    yield Row(
                        name=f"{what}, Dask with {num_workers} worker processes",
                        ours=seconds,
                        unit="s",
                        peer=peer_seconds,
                        peer_name="FnApiRunner, one process",
                        remark=f"the whole command; {len(digests)} files of the same bytes; {os.cpu_count()} cores",
                    )


def write_model(model_dir: pathlib.Path) -> pathlib.Path:
    """Exports the demo's network with random weights, in a process of its own."""
    program = (
        "import sys, keras\n"
        "from maskformer_model import experiments\n"
        "from maskformer_model.categories import CategoryTable\n"
        "from maskformer_model.export.saved_model import export_saved_model\n"
        "from maskformer_model.modeling.maskformer import MaskFormer\n"
        "from maskformer_model.scenes import data_set\n"
        "from maskformer_model.training import loop\n"
        "keras.utils.set_random_seed(0)\n"
        "categories = CategoryTable.from_coco(data_set.CATEGORIES)\n"
        "config = loop.with_num_classes(experiments.get('generated_scenes'), categories.num_classes)\n"
        "network = MaskFormer(config.task.model)\n"
        "network.build()\n"
        "export_saved_model(network, categories, config, sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", program, str(model_dir)], cwd=PROJECT_DIR, check=True)
    return model_dir


def ingest_command(root: pathlib.Path) -> list[str]:
    """Returns the converter's command up to Beam's flags; `{output}` is where it writes."""
    annotations = root / "annotations"
    return [
        "components.coco_example_gen.create_coco_tf_record",
        f"--image_dir={root / 'train2017'}",
        f"--panoptic_annotations_file={annotations / 'panoptic_train2017.json'}",
        f"--panoptic_masks_dir={annotations / 'panoptic_train2017'}",
        f"--num_shards={NUM_SHARDS}",
        "--num_processes=1",
        "--output_file_prefix={output}/train",
        "--",
    ]


def predict_command(root: pathlib.Path, model_dir: pathlib.Path) -> list[str]:
    """Returns the bulk prediction's command up to Beam's flags."""
    return [
        "components.bulk_predictor",
        f"--model={model_dir}",
        f"--images={root / 'train2017' / '*.jpg'}",
        f"--photos_per_shard={NUM_PHOTOS // NUM_SHARDS}",
        "--output={output}",
    ]


def timed(command: list[str], output: pathlib.Path) -> tuple[float, dict[str, str]]:
    """Runs a command into a new folder; returns its seconds and the SHA-256 of every file of records."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=output.name, dir=output.parent))
    start = time.perf_counter()
    arguments = [argument.replace("{output}", str(folder)) for argument in command]
    subprocess.run([sys.executable, "-m", *arguments], cwd=PROJECT_DIR, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    files = sorted(folder.rglob("*.tfrecord"))
    return seconds, {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextlib.contextmanager
def workers(count: int) -> Iterator[str]:
    """Starts a scheduler and worker processes of one thread each; yields the scheduler's address."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


if __name__ == "__main__":
    main(measure)
