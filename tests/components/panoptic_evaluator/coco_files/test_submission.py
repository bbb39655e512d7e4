"""`evaluate --model DIR --data DIR`: a SavedModel on a COCO folder, into the challenge's format and its score."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from components.panoptic_evaluator import evaluate
from maskformer_model.data import panoptic_png
from tests.components.brightness_model import CATEGORIES, save_model, scene

# Two of five discs are too dark for the model.
SCENES = [scene(number, disc_level=100 if number in (3, 4) else 220) for number in range(1, 6)]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return str(save_model(tmp_path_factory.mktemp("model") / "saved"))


@pytest.fixture
def data_dir(tmp_path):
    """A folder in COCO's panoptic layout."""
    folder = tmp_path / "data"
    (folder / "val2017").mkdir(parents=True)
    (folder / "annotations" / "panoptic_val2017").mkdir(parents=True)
    document: dict = {"images": [], "annotations": [], "categories": CATEGORIES.to_coco()}
    for record in SCENES:
        (folder / "val2017" / record.filename).write_bytes(record.image_encoded)
        (folder / "annotations" / "panoptic_val2017" / record.filename).write_bytes(record.panoptic_png)
        size = {"height": record.height_px, "width": record.width_px}
        document["images"].append({"id": int(record.source_id), "file_name": record.filename, **size})
        segments = [{"id": s.id, "category_id": s.category_id, "area": s.area_px} for s in record.segments]
        document["annotations"].append(
            {"image_id": int(record.source_id), "file_name": record.filename, "segments_info": segments}
        )
    # A photo without a truth is not predicted.
    document["images"].append({"id": 99, "file_name": "absent.png", "height": 1, "width": 1})
    (folder / "annotations" / "panoptic_val2017.json").write_text(json.dumps(document))
    return folder


def run(model_dir, data_dir, *flags):
    predictions = data_dir.parent / "predictions"
    flags = ("--model", model_dir, "--data", str(data_dir), "--predictions", str(predictions), *flags)
    return evaluate.main(list(flags)), predictions


def test_a_model_is_predicted_in_the_challenge_s_format_and_scored(model_dir, data_dir):
    output = data_dir.parent / "numbers.json"
    status, predictions = run(model_dir, data_dir, "--num_workers", "1", "--output", str(output))
    assert status == 0
    assert json.loads(output.read_text())["summary"]["Things"]["pq"] == 3 / 4  # 3 found, 2 missed.

    assert sorted(path.name for path in predictions.iterdir()) == ["predictions", "predictions.json"]
    document = json.loads((predictions / "predictions.json").read_text())
    assert [annotation["image_id"] for annotation in document["annotations"]] == [1, 2, 3, 4, 5]
    for annotation in document["annotations"]:
        ids, areas, _ = panoptic_png.segment_extents(
            panoptic_png.decode_panoptic_png((predictions / "predictions" / annotation["file_name"]).read_bytes())
        )
        segments = annotation["segments_info"]
        assert [(s["id"], s["area"]) for s in segments] == list(zip(ids.tolist(), areas.tolist(), strict=True))
        assert {s["category_id"] for s in segments} <= {3, 7}


def test_predictions_are_never_written_over_others(model_dir, data_dir, capsys):
    predictions = data_dir.parent / "predictions"
    (predictions / "predictions").mkdir(parents=True)
    (predictions / "predictions" / "old.png").touch()
    assert run(model_dir, data_dir)[0] == 2
    assert "must go where there are none" in capsys.readouterr().err


def test_a_damaged_photo_is_named_and_what_it_leaves_is_explained(model_dir, data_dir, capsys):
    photo = data_dir / "val2017" / SCENES[2].filename
    whole = photo.read_bytes()
    photo.write_bytes(whole[:50])
    status, predictions = run(model_dir, data_dir, "--num_workers", "1")
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert status == 2 and f"The model must be able to read {photo}. " in last_line
    assert "InvalidArgumentError" not in last_line

    photo.write_bytes(whole)
    assert run(model_dir, data_dir)[0] == 2
    error = capsys.readouterr().err
    folder = predictions / "predictions"
    assert f"Found files in {folder} but no {folder}.json" in error and "Remove that folder and start again" in error
    shutil.rmtree(folder)
    assert run(model_dir, data_dir, "--num_workers", "1")[0] == 0
    assert run(model_dir, data_dir)[0] == 2
    assert f"must go where there are none. Found: {folder}.json" in capsys.readouterr().err


def test_a_model_with_other_classes_is_refused(data_dir, tmp_path, capsys):
    from maskformer_model.categories import CategoryTable

    other = save_model(tmp_path / "other", categories=CategoryTable.from_coco(CATEGORIES.to_coco()[::-1]))
    assert run(str(other), data_dir)[0] == 2
    assert "class 0 is 'disc' in the model" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_of_their_own_change_nothing(model_dir, data_dir):
    _, alone = run(model_dir, data_dir, "--num_workers", "1")
    before = {path.name: path.read_bytes() for path in alone.rglob("*") if path.is_file()}
    alone.rename(alone.with_name("alone"))
    status, together = run(model_dir, data_dir, "--num_workers", "2")
    assert status == 0
    assert {path.name: path.read_bytes() for path in pathlib.Path(together).rglob("*") if path.is_file()} == before
