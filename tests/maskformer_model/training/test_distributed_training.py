"""One batch on one replica, on two, on two processes and in two parts: the same losses and the same weights."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from tests.maskformer_model.helpers import tiny_run
from tests.maskformer_model.helpers.families import FAMILIES

pytestmark = pytest.mark.takes(seconds=420)
# The reference's recipe: clipping on at every step; dropout off, since replicas draw their own.
RECIPE = (
    "runtime.deterministic=true,task.model.dropout=0,trainer.train_steps=20,trainer.steps_per_loop=1,"
    "trainer.optimizer.clip_norm=0.01,trainer.optimizer.learning_rate=0.0001"
)
# Photos of three shapes, padded in pairs: who is padded with whom changes what the network sees.
PAIRS = f"{RECIPE},task.train_data.parser.output_size=[0,0],task.train_data.aspect_ratio_group_size=2"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    tiny_run.write_records(folder)
    return folder


def start(data, model_dir, project_dir, overrides, *, replicas=1, tf_config=None):
    environment = {**os.environ, **({"TF_CONFIG": json.dumps(tf_config)} if tf_config else {})}
    model_dir.mkdir(exist_ok=True)
    with open(model_dir.with_suffix(".log"), "w", encoding="utf-8") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.maskformer_model.helpers.run_training", str(data), str(model_dir)]
            + ["--overrides", overrides, "--replicas", str(replicas)],
            cwd=project_dir,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def finish(*processes_and_folders):
    for process, folder in processes_and_folders:
        assert process.wait() == 0, folder.with_suffix(".log").read_text("utf-8")[-3000:]


def outcome(folder):
    history = json.loads((folder / "training_history.json").read_text("utf-8"))
    weights = {}
    with h5py.File(folder / "model.weights.h5") as file:
        file.visititems(lambda name, item: weights.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return [row["loss"] for row in history], weights


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory, project_dir):
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish((start(data, folder, project_dir, RECIPE), folder))
    return outcome(folder)


def assert_same(ours, expected, near_zero=1e-6):
    losses, weights = ours
    assert len(losses) == 20
    assert losses == pytest.approx(expected[0], rel=1e-5)
    assert expected[0][-1] < expected[0][0]
    for name, value in expected[1].items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-4, atol=near_zero, err_msg=name)


@pytest.mark.slow
def test_two_replicas_train_as_one_does(data, whole, tmp_path, project_dir):
    folder = tmp_path / "run"
    finish((start(data, folder, project_dir, f"{RECIPE},runtime.distribution_strategy=mirrored", replicas=2), folder))
    assert_same(outcome(folder), whole)


@pytest.mark.slow
def test_a_batch_in_two_parts_trains_as_one_does(data, whole, tmp_path, project_dir):
    folder = tmp_path / "run"
    finish((start(data, folder, project_dir, f"{RECIPE},trainer.accumulation_steps=2"), folder))
    # Twenty steps move a weight by up to 2e-3, even where its gradient is rounding: AdamW divides by its size.
    assert_same(outcome(folder), whole, near_zero=5e-5)


@pytest.mark.slow
def test_two_replicas_see_the_same_photos_in_the_same_groups_as_one_in_two_parts(data, whole, tmp_path, project_dir):
    parts, replicas = tmp_path / "parts", tmp_path / "replicas"
    mirrored = f"{PAIRS},runtime.distribution_strategy=mirrored"
    finish(
        (start(data, parts, project_dir, f"{PAIRS},trainer.accumulation_steps=2"), parts),
        (start(data, replicas, project_dir, mirrored, replicas=2), replicas),
    )
    expected = outcome(parts)
    assert_same(outcome(replicas), expected, near_zero=5e-5)
    assert expected[0] != pytest.approx(whole[0], rel=1e-3)  # Without groups the batches are others.


@pytest.mark.slow
def test_two_processes_train_as_one_does(data, whole, tmp_path, project_dir):
    ports = []
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    for server in sockets:
        ports.append(server.getsockname()[1])
        server.close()
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    started = []
    for index in range(2):
        folder = tmp_path / f"worker{index}"
        tf_config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        overrides = f"{RECIPE},runtime.distribution_strategy=multi_worker_mirrored"
        started.append((start(data, folder, project_dir, overrides, tf_config=tf_config), folder))
    finish(*started)
    assert_same(outcome(started[0][1]), whole)
    assert not (started[1][1] / "model.weights.h5").exists()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["maskformer", *FAMILIES])
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits(data, tmp_path, project_dir, family):
    # Dropout, flips, an average of the weights and a schedule, drawn points, masks of attention that are given up: all
    # that a step depends on has to come back.
    overrides = (
        "runtime.deterministic=true,trainer.train_steps=30,trainer.steps_per_loop=7,trainer.checkpoint_interval=3,"
        "trainer.optimizer.ema_momentum=0.9,trainer.optimizer.warmup_steps=10,trainer.optimizer.warmup_factor=0.1"
    )
    if family in FAMILIES:
        overrides = f"{FAMILIES[family]},{overrides}"
    if family == "eomt":
        overrides += ",task.model.decoder.mask_annealing_starts=[0,8],task.model.decoder.mask_annealing_ends=[25,30]"
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    finish((start(data, undisturbed, project_dir, overrides), undisturbed))
    random, kills = np.random.default_rng(0), int(os.environ.get("MASKFORMER_TEST_KILLS", "2"))
    steps_at_kill = []
    for _ in range(kills):
        process = start(data, killed, project_dir, overrides)
        before = newest_step(killed)
        target = before + int(random.integers(1, 5))
        # The moment is random in itself: anywhere between two checkpoints, or while one is written.
        while newest_step(killed) < target and process.poll() is None:
            time.sleep(0.02)
        time.sleep(float(random.uniform(0, 0.3)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        steps_at_kill.append(newest_step(killed))
    finish((start(data, killed, project_dir, overrides), killed))
    assert len(set(steps_at_kill)) > 1 or kills < 2
    assert steps_at_kill[0] < 30
    (losses, weights), (expected_losses, expected) = outcome(killed), outcome(undisturbed)
    assert losses == expected_losses
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)


def newest_step(folder):
    return max((int(path.stem.partition("-")[2]) for path in folder.glob("ckpt-*.index")), default=0)
