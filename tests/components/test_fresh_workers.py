"""Beam workers that start as new processes and know nothing of this checkout get the package by `--setup_file`."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import stat
import subprocess
import sys

import pytest

from maskformer_model.scenes import data_set
from tests.conftest import PROJECT_DIR

NUM_SCENES = 3
# Runs {boot} until the pool asks it to end.
_SCRIPT = """#!/bin/sh
{{ {boot} "$@"; }} >"{folder}/printed" 2>&1 &
trap "kill $!" TERM
wait $! || touch "{folder}/failed"
"""
BOOT = f"{sys.executable} {PROJECT_DIR / 'tests' / 'beam_worker_boot.py'}"


class WorkerFailedError(RuntimeError):
    """A worker's process has ended while it was needed; the message is what it has printed."""


@dataclasses.dataclass(frozen=True)
class WorkerPool:
    """Starts workers.

    Attributes:
        address: for `--environment_config`.
        folder: what the workers leave, `printed` and, once one has failed, `failed`.
    """

    address: str
    folder: pathlib.Path

    def run(self, command: list[str]) -> None:
        """Runs a program whose workers come from here; one that cannot start would be waited for without an end.

        Raises:
            WorkerFailedError: if a worker ends with another status than 0 before the program does.
            subprocess.CalledProcessError: if the program fails.
        """
        with subprocess.Popen(command, cwd=PROJECT_DIR) as program:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = program.wait(timeout=0.2)
                    break
                if (self.folder / "failed").exists():
                    program.kill()
                    raise WorkerFailedError((self.folder / "printed").read_text())
        if status:
            raise subprocess.CalledProcessError(status, command)


@pytest.fixture
def start_pool(tmp_path, monkeypatch):
    """Starts a worker pool, as a Flink or Spark cluster has one beside each executor; `boot` starts its workers."""
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    folder, script = tmp_path / "worker", tmp_path / "boot"
    folder.mkdir()
    # What a worker's process inherits here must not lead it to this checkout.
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("WORKER_FOLDER", str(folder))
    with contextlib.ExitStack() as stack:

        def start(boot):
            script.write_text(_SCRIPT.format(boot=boot, folder=folder))
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
            address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True, container_executable=str(script))
            stack.callback(server.stop, 0)
            return WorkerPool(address, folder)

        yield start


@pytest.fixture
def conversion(tmp_path):
    """A command that converts a few scenes in the workers of a pool."""
    scenes = tmp_path / "scenes"
    data_set.write_data_set(scenes, num_train=NUM_SCENES, num_val=1, size_px=32, seed=0)
    (tmp_path / "records").mkdir()

    def command(address):
        return [
            *(sys.executable, "-m", "components.coco_example_gen.create_coco_tf_record"),
            f"--image_dir={scenes / 'train2017'}",
            f"--panoptic_annotations_file={scenes / 'annotations' / 'panoptic_train2017.json'}",
            f"--panoptic_masks_dir={scenes / 'annotations' / 'panoptic_train2017'}",
            f"--output_file_prefix={tmp_path / 'records' / 'train'}",
            "--num_shards=1",
            "--include_panoptic_masks",
            "--",
            "--runner=PortableRunner",
            "--job_endpoint=embed",
            "--environment_type=EXTERNAL",
            f"--environment_config={address}",
            f"--setup_file={PROJECT_DIR / 'setup.py'}",
        ]

    return command


@pytest.mark.slow
def test_a_conversion_runs_in_fresh_workers_that_install_the_package(start_pool, conversion, tmp_path):
    pool = start_pool(BOOT)
    pool.run(conversion(pool.address))
    [records] = (tmp_path / "records").glob("train-*.tfrecord")
    assert records.stat().st_size > 1000
    where = (pool.folder / "imported_from").read_text().splitlines()
    assert where == [
        str(pool.folder / "packages" / name / "__init__.py")
        for name in ("maskformer_tfx/components", "maskformer_model")
    ]


@pytest.mark.slow
def test_a_worker_that_cannot_start_is_heard_of_at_once(start_pool, conversion):
    pool = start_pool("echo 'no space left'; false")
    with pytest.raises(WorkerFailedError, match="no space left"):
        pool.run(conversion(pool.address))
