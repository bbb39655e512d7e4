"""Tests of `pipeline.run_local`, up to where TFX begins."""

import json
import os
import subprocess
import sys

import pytest

from maskformer_model import config as experiment_config
from maskformer_model import experiments
from pipeline import lineage, run_local
from pipeline.flags import config_from_args, generated_data_from_args, parse_args
from pipeline.local_run import root_lock

HEAVY = ("tensorflow", "keras", "tfx", "apache_beam", "numpy", "PIL")


def run_script(project_dir, *arguments, cwd=None):
    command = [sys.executable, str(project_dir / "pipeline" / "run_local.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_help_is_answered_before_anything_heavy_is_imported(project_dir):
    script = project_dir / "pipeline" / "run_local.py"
    probe = (
        "import runpy, sys\n"
        f"sys.argv = [{str(script)!r}, '--help']; sys.path[0] = {str(script.parent)!r}\n"
        "try:\n"
        f"    runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        f"    print('status', end.code, [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "status 0 []"
    assert "--params_override" in done.stdout


def test_the_script_finds_its_packages_from_any_folder(project_dir, tmp_path):
    done = run_script(project_dir, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_data_the_generated_scenes_and_their_experiment_are_taken(tmp_path):
    args = parse_args(["--root", str(tmp_path)])
    config, scenes = config_from_args(args), generated_data_from_args(args)
    assert config.experiment_name == "generated_scenes_quick"
    assert config.data.data_dir == str(tmp_path / "data" / "generated")
    assert scenes.num_val >= 100


def test_with_data_nothing_is_drawn_and_the_coco_experiment_is_taken(tmp_path):
    args = parse_args(["--root", str(tmp_path), "--data", "photos"])
    config, scenes = config_from_args(args), generated_data_from_args(args)
    assert config.experiment_name == "coco_small"
    assert config.data.data_dir == os.path.abspath("photos")
    assert scenes is None


def test_flags_reach_the_config(tmp_path):
    given = {
        "--root": str(tmp_path),
        "--experiment": "generated_scenes",
        "--params_override": "trainer.train_steps=7,task.train_data.parser.output_size=[128,160]",
        "--pq_floor": "0.5",
        "--allowed_pq_drop": "0.01",
        "--max_train_images": "8",
        "--max_eval_images": "4",
        "--max_kept_aside_share": "0.25",
        "--on_anomalies": "warn",
        "--on_drift": "block",
        "--max_class_drift": "0.3",
        "--layout": "cityscapes",
        "--eval_share": "0.2",
        "--num_shards": "5",
        "--span_pattern": "span-{SPAN}",
        "--predict_batch_size": "4",
    }
    argv = [word for pair in given.items() for word in pair]
    config = config_from_args(parse_args(argv))
    assert config.experiment.trainer.train_steps == 7
    assert config.experiment.task.train_data.parser.output_size == (128, 160)
    assert (config.gate.pq_floor, config.gate.allowed_drop) == (0.5, 0.01)
    assert (config.data.options.max_train_images, config.data.options.max_eval_images) == (8, 4)
    assert (config.data.options.max_kept_aside_share, config.data.on_anomalies) == (0.25, "warn")
    assert (config.data.on_drift, config.data.max_class_drift) == ("block", 0.3)
    options = config.data.options
    assert (options.layout, options.eval_share, options.num_shards) == ("cityscapes", 0.2, 5)
    assert options.span_pattern == "span-{SPAN}"
    assert not options.trust_manifest
    assert config.predict_batch_size == 4
    config = config_from_args(parse_args(["--evaluate_on_train", "--trust_manifest"]))
    assert config.data.options.evaluate_on_train and config.data.options.trust_manifest


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--experiment", "nothing"], "Unknown experiment 'nothing'. Known: "),
        (["--params_override", "trainer.steps=5"], "Unknown setting `trainer.steps`"),
        (["--params_override", "trainer.train_steps"], "must look like"),
        (["--pq_floor", "60"], "`pq_floor` must be in 0..1. Received: 60.0"),
        (["--generated_train_images", "0"], "`num_train` of the generated scenes must be positive"),
    ],
)
def test_a_wrong_value_is_answered_in_one_line_with_status_2(tmp_path, capsys, flags, words):
    assert run_local.main(["--root", str(tmp_path / "root"), *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "root").exists()


def test_a_wrong_data_folder_is_told_which_file_was_expected_where(project_dir, tmp_path):
    data, root = tmp_path / "data", tmp_path / "root"
    (data / "train2017").mkdir(parents=True)
    root.mkdir()
    (root / "summary.json").write_text('{"state": "succeeded"}')
    done = run_script(project_dir, "--data", str(data), "--root", str(root))
    assert done.returncode == 2
    assert f"{data}/annotations/instances_train2017.json" in done.stdout
    assert f"{data}/val2017  (folder of the photos)" in done.stdout
    assert "It holds: train2017." in done.stdout
    summary = json.loads((root / "summary.json").read_text())
    assert (summary["state"], summary["failure"]["component"]) == ("failed", "data")
    assert summary["pq"] is None


def test_a_root_in_use_is_refused(tmp_path, capsys):
    with root_lock.only_run_in(str(tmp_path)):
        assert run_local.main(["--root", str(tmp_path)]) == root_lock.EXIT_ROOT_IN_USE
    assert f"Another run is using {tmp_path}" in capsys.readouterr().err


def write_checkpoint(folder):
    config = experiment_config.merge(
        experiments.get("mask2former_small"), {"task": {"model": {"num_classes": 7, "num_queries": 9}}}
    )
    folder.mkdir()
    (folder / "experiment.json").write_text(json.dumps(experiment_config.to_dict(config)))
    return str(folder)


def test_a_checkpoint_gives_the_network_and_the_experiment_the_rest(tmp_path):
    folder = write_checkpoint(tmp_path / "converted")
    args = parse_args(["--root", str(tmp_path), "--init", folder, "--experiment", "generated_scenes"])
    config = config_from_args(args)
    task, own = config.experiment.task, experiments.get("generated_scenes")
    assert (task.model.num_queries, task.model.decoder.type, task.model.num_classes) == (9, "masked_attention", 0)
    assert (task.init_checkpoint, task.init_checkpoint_modules) == (folder, "all")
    assert (config.experiment_name, config.experiment.trainer) == ("generated_scenes", own.trainer)
    assert task.train_data == own.task.train_data


def test_a_root_stands_for_the_weights_of_the_model_that_serves_there(tmp_path, monkeypatch):
    folder = write_checkpoint(tmp_path / "model_run")
    (tmp_path / "root" / "serving").mkdir(parents=True)
    flags = ["--root", str(tmp_path), "--init", str(tmp_path / "root"), "--experiment", "generated_scenes"]
    with pytest.raises(ValueError, match="a folder in which a model serves. Received: .*root"):
        config_from_args(parse_args(flags))
    monkeypatch.setattr(lineage, "model_run_that_serves", {str(tmp_path / "root"): folder}.get)
    assert config_from_args(parse_args(flags)).experiment.task.init_checkpoint == folder


def test_the_yaml_file_wins_over_the_experiment_and_overrides_win_over_the_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("trainer: {train_steps: 7, steps_per_loop: 3}\n")
    flags = ["--root", str(tmp_path), "--config_file", str(path), "--params_override", "trainer.steps_per_loop=2"]
    trainer = config_from_args(parse_args(flags)).experiment.trainer
    assert (trainer.train_steps, trainer.steps_per_loop) == (7, 2)
