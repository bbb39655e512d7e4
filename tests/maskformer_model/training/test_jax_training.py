"""Training on Keras's JAX backend, two devices sharing each batch, is TensorFlow's on one device."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from maskformer_model import config as config_lib
from maskformer_model.config.files import HISTORY_FILE
from maskformer_model.train import main
from maskformer_model.training import loop
from tests.maskformer_model.helpers import tiny_run

pytestmark = pytest.mark.takes(seconds=100)
STEPS = 4
SETTINGS = (
    "task.model.dropout=0,trainer.optimizer.clip_norm=0.01,trainer.optimizer.learning_rate=0.0001,"
    f"trainer.optimizer.schedule=step,trainer.train_steps={STEPS},trainer.steps_per_loop=1,"
    f"trainer.checkpoint_interval={STEPS // 2},task.init_checkpoint_modules=all"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    categories = tiny_run.write_records(folder)
    records = (
        f"task.train_data.input_path={folder}/train.tfrecord,task.validation_data.input_path={folder}/val.tfrecord"
    )
    start = tiny_run.experiment(f"{SETTINGS},{records},trainer.train_steps=1")
    files = [start.task.train_data.input_path]
    loop.train(start, train_files=files, categories=categories, model_dir=str(folder / "start"), progress=False)
    config = config_lib.to_dict(tiny_run.experiment(f"{SETTINGS},{records}"))
    (folder / "settings.yaml").write_text(yaml.safe_dump(config), "utf-8")
    return folder


def command(data, mode, model_dir, overrides):
    settings = ["--config_file", str(data / "settings.yaml"), "--params_override", overrides]
    return ["--mode", mode, "--model_dir", str(model_dir), *settings]


def train_on_jax(project_dir, data, arguments):
    environment = {
        **os.environ,
        # What the first process compiled, the next need not.
        "JAX_COMPILATION_CACHE_DIR": str(data / "compiled"),
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    return subprocess.run(
        [sys.executable, "-m", "maskformer_model.train", *arguments],
        cwd=project_dir,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def losses(model_dir):
    return [row["loss"] for row in json.loads((model_dir / HISTORY_FILE).read_text("utf-8"))]


@pytest.mark.slow
def test_jax_on_two_devices_follows_tensorflow_and_goes_on_where_it_stopped(project_dir, data, tmp_path, capsys):
    start = f"task.init_checkpoint={data / 'start'}"
    assert main(command(data, "train", tmp_path / "tensorflow", start)) == 0
    # Half of the run, then the same command again: the second half goes on from the checkpoint.
    for steps in (STEPS // 2, STEPS):
        arguments = command(data, "train", tmp_path / "jax", f"{start},trainer.train_steps={steps}")
        finished = train_on_jax(project_dir, data, arguments)
        assert finished.returncode == 0, finished.stderr[-3000:]
    ours, expected = losses(tmp_path / "jax"), losses(tmp_path / "tensorflow")
    assert len(expected) == STEPS
    assert ours == pytest.approx(expected, rel=1e-4)
    # What JAX trained is scored on TensorFlow, where it is also exported from.
    assert main(command(data, "eval", tmp_path / "jax", "")) == 0
    assert "PQ 0." in capsys.readouterr().out


@pytest.mark.slow
def test_what_needs_tensorflow_is_refused_on_jax(project_dir, data, tmp_path):
    finished = train_on_jax(project_dir, data, command(data, "train_and_eval", tmp_path, ""))
    assert finished.returncode == 1
    assert "KERAS_BACKEND=tensorflow" in finished.stderr
