"""A job that is killed half-way, and started again: what a later step takes is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

from components.coco_example_gen import create_coco_tf_record
from maskformer_model.data import examples
from maskformer_model.scenes import data_set

NUM_SCENES, NUM_SHARDS = 9, 3
# Kills the process, as a machine that goes away would, when it is about to check its seventh photo.
KILL = f"""
import os, signal
from components.coco_example_gen.records import reader
check_photo, seen = reader.check_photo, []
def check_or_die(*arguments):
    seen.append(1)
    if len(seen) > {NUM_SCENES - 3}:
        os.kill(os.getpid(), signal.SIGKILL)
    return check_photo(*arguments)
reader.check_photo = check_or_die
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("scenes")
    data_set.write_data_set(directory, num_train=NUM_SCENES, num_val=2, size_px=48, seed=3)
    return directory


def run_killed(code, project_dir):
    done = subprocess.run(
        [sys.executable, "-c", KILL + code], cwd=project_dir, env=os.environ | {"PYTHONPATH": str(project_dir)}
    )
    assert done.returncode == -signal.SIGKILL


def file_names(pattern):
    files = tf.io.gfile.glob(pattern)
    examples.check_shards(files)
    records = [examples.decode_record(r) for r in tf.data.TFRecordDataset(files).as_numpy_iterator()]
    return sorted(record.filename for record in records)


def test_a_killed_converter_leaves_no_record_file_and_the_next_run_writes_all(data_dir, tmp_path, project_dir):
    annotations = data_dir / "annotations"
    flags = [
        *(f"--image_dir={data_dir}/train2017", f"--output_file_prefix={tmp_path}/out/train"),
        *(f"--num_shards={NUM_SHARDS}", "--num_processes=0"),
        f"--panoptic_annotations_file={annotations}/panoptic_train2017.json",
        f"--panoptic_masks_dir={annotations}/panoptic_train2017",
    ]
    module = "components.coco_example_gen.create_coco_tf_record"
    run_killed(f"from {module} import main; main({flags!r})", project_dir)
    # Shards that were finished are there, but not under the names that a reader looks for.
    assert list((tmp_path / "out" / "train.unfinished").glob("train-*.tfrecord"))
    assert not list((tmp_path / "out").glob("train-*"))
    assert create_coco_tf_record.main(flags) == 0
    expected = sorted(path.name for path in (data_dir / "train2017").iterdir())
    assert file_names(f"{tmp_path}/out/train-*") == expected
    assert not (tmp_path / "out" / "train.unfinished").exists()


PIPELINE = """
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from components.coco_example_gen.component import CocoExampleGen
LocalDagRunner().run(Pipeline(
    pipeline_name="ingest", pipeline_root={root!r} + "/artifacts", enable_cache=True,
    metadata_connection_config=metadata.sqlite_metadata_connection_config({root!r} + "/metadata.sqlite"),
    components=[CocoExampleGen({data!r}, num_shards=3)], beam_pipeline_args=["--runner=FnApiRunner"],
))
"""


@pytest.mark.slow
def test_a_killed_example_gen_leaves_no_artifact_that_counts_and_runs_again(data_dir, tmp_path, project_dir):
    from ml_metadata.proto import metadata_store_pb2
    from tfx.orchestration import metadata

    code = PIPELINE.format(root=str(tmp_path), data=str(data_dir))
    run_killed(code, project_dir)
    folder = tmp_path / "artifacts" / "CocoExampleGen" / "examples"
    [killed] = folder.iterdir()
    # A whole artifact has its categories, written last; steps refuse one without.
    assert not (killed / "categories.json").exists()
    connection = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    live = metadata_store_pb2.Artifact.LIVE

    def live_uris():
        with metadata.Metadata(connection) as handle:
            return [artifact.uri for artifact in handle.store.get_artifacts() if artifact.state == live]

    assert live_uris() == []
    subprocess.run(
        [sys.executable, "-c", code], cwd=project_dir, env=os.environ | {"PYTHONPATH": str(project_dir)}, check=True
    )
    [uri] = live_uris()
    expected = sorted(path.name for path in (data_dir / "train2017").iterdir())
    assert file_names(f"{uri}/Split-train/*") == expected
    assert os.path.exists(f"{uri}/categories.json")
