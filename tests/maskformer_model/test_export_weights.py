"""From a checkpoint with labels to a server that answers, by commands alone; and what is refused on the way.

A Mask2Former goes the whole way here, and a MaskFormer in `tests/examples/test_published_checkpoint.py`.
"""

import io
import json

import numpy as np
import PIL.Image
import pytest

from maskformer_model import command_line, experiments, export_weights
from maskformer_model.config import merge, to_dict
from maskformer_model.pretrained.sources import read_checkpoint
from tests.maskformer_model.helpers.safetensors_file import write_safetensors
from tests.maskformer_model.serve.running_server import RunningServer

LABELS = ("ball", "crate", "sky")


def write_run(folder, num_classes=3, labels=LABELS):
    """A folder like that of a training run, without weights."""
    folder.mkdir()
    config = merge(experiments.get("generated_scenes"), {"task": {"model": {"num_classes": num_classes}}})
    (folder / "experiment.json").write_text(json.dumps(to_dict(config)))
    rows = [{"id": number + 1, "name": name} for number, name in enumerate(labels)]
    (folder / "categories.json").write_text(json.dumps(rows))
    return folder


def refusal(capsys, *arguments):
    assert command_line.main(["export", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_a_folder_without_an_experiment_is_refused(tmp_path, capsys):
    message = refusal(capsys, "--weights", tmp_path, "--output", tmp_path / "out")
    assert "`--weights` must be a folder with experiment.json" in message
    assert str(tmp_path) in message


def test_an_output_that_holds_something_is_left_alone(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    message = refusal(capsys, "--weights", run, "--output", run)
    assert "`--output` must not exist or be empty" in message
    assert (run / "experiment.json").is_file()


def test_classes_without_names_are_asked_for(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    (run / "categories.json").unlink()
    message = refusal(capsys, "--weights", run, "--output", tmp_path / "out")
    assert "Nothing names the 3 classes" in message
    assert "--categories FILE" in message
    assert not (tmp_path / "out").exists()


def test_names_of_another_number_of_classes_are_refused(tmp_path, capsys):
    run = write_run(tmp_path / "run", num_classes=4)
    assert "must name the network's 4 classes. Received: 3" in refusal(
        capsys, "--weights", run, "--output", tmp_path / "out"
    )


def test_categories_may_be_a_coco_json_and_settings_of_answers_may_change_but_not_the_network(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    coco = tmp_path / "coco.json"
    coco.write_text(json.dumps({"images": [], "categories": [{"id": 7, "name": "a"}] * 1}))
    assert "network's 3 classes. Received: 1" in refusal(
        capsys, "--weights", run, "--output", tmp_path / "out", "--categories", coco
    )
    assert "must not change the network" in refusal(
        capsys, "--weights", run, "--output", tmp_path / "out", "--params_override", "task.model.num_queries=7"
    )
    assert export_weights.read_categories(str(run), None, 3).names == LABELS


def hugging_face_folder(source, folder, model_type, num_classes):
    """A folder as `save_pretrained` lays it out, with the weights under the official names."""
    arrays = read_checkpoint(str(source)).arrays
    write_safetensors(folder / "model.safetensors", arrays)
    labels = {str(index): f"class {index}" for index in range(num_classes)}
    config = {"model_type": model_type, "id2label": labels, "label_ids_to_fuse": [0, 2]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.slow
def test_a_labelled_checkpoint_is_converted_exported_and_served(project_dir, tmp_path, capsys):
    golden, num_classes, recipe = "m2f_resnet50_tiny", 13, "mask2former_coco_panoptic_r50"
    (tmp_path / "source").mkdir()
    source = hugging_face_folder(project_dir / "tests/golden" / golden, tmp_path / "source", "mask2former", num_classes)
    converted, exported = str(tmp_path / "converted"), str(tmp_path / "exported")
    assert command_line.main(["convert", "--source", str(source), "--output", converted, "--settings_of", recipe]) == 0
    assert f"{num_classes - 2} things, 2 stuff; stuff is what `label_ids_to_fuse` lists" in capsys.readouterr().out
    answers = "task.inference.shortest_edge_px=64,task.inference.max_size_px=64,task.inference.object_mask_threshold=0"
    arguments = ["--weights", converted, "--output", exported, "--params_override", answers]
    assert command_line.main(["export", *arguments]) == 0
    assert f"maskformer serve --model {exported}" in capsys.readouterr().out
    photo = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)).save(photo, "PNG")
    server = RunningServer(exported)
    try:
        answer = server.wait_until_ready().predict(photo.getvalue())
    finally:
        server.end()
    assert answer.status == 200
    [prediction] = answer.json()["predictions"]
    assert set(prediction["class_names"]) <= {"", *(f"class {index}" for index in range(num_classes))}
    assert prediction["num_segments"] >= 0
