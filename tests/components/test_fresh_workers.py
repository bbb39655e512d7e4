"""Beam workers that start as new processes and know nothing of this checkout get the package by `--setup_file`."""

from __future__ import annotations

import pathlib
import stat
import sys

import pytest

from components.coco_example_gen import create_coco_tf_record
from maskformer_model import generated_scenes
from tests.conftest import PROJECT_DIR

NUM_SCENES = 3


@pytest.fixture
def worker_pool(tmp_path, monkeypatch):
    """A worker pool, as a Flink or Spark cluster has one beside each executor; gives its address and its folder."""
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    folder, boot = tmp_path / "worker", tmp_path / "boot"
    folder.mkdir()
    boot.write_text(f'#!/bin/sh\nexec {sys.executable} {PROJECT_DIR / "tests" / "beam_worker_boot.py"} "$@"\n')
    boot.chmod(boot.stat().st_mode | stat.S_IXUSR)
    # What a worker's process inherits here must not lead it to this checkout.
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("WORKER_FOLDER", str(folder))
    address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True, container_executable=str(boot))
    yield address, folder
    server.stop(0)


@pytest.mark.slow
def test_a_conversion_runs_in_fresh_workers_that_install_the_package(worker_pool, tmp_path):
    address, folder = worker_pool
    scenes = tmp_path / "scenes"
    generated_scenes.write_data_set(scenes, num_train=NUM_SCENES, num_val=1, size_px=32, seed=0)
    (tmp_path / "records").mkdir()
    status = create_coco_tf_record.main(
        [
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
    )
    assert status == 0
    [records] = (tmp_path / "records").glob("train-*.tfrecord")
    assert records.stat().st_size > 1000
    where = pathlib.Path(folder / "imported_from").read_text().splitlines()
    assert where == [str(folder / "packages" / name / "__init__.py") for name in ("components", "maskformer_model")]
