"""Tests of `pipeline.local_run.generated_data`."""

import json

import pytest

from components.coco_example_gen.options import IngestOptions
from pipeline.local_run import generated_data
from pipeline.local_run.data_folder import DataFolderError, check_data_dir
from pipeline.local_run.generated_data import GeneratedDataConfig, ensure_generated_data

TINY = GeneratedDataConfig(num_train=2, num_val=1, size_px=64, seed=3)


def test_drawn_scenes_have_the_layout_that_is_asked_of_a_user(tmp_path):
    assert ensure_generated_data(tmp_path / "generated", TINY)
    check_data_dir(str(tmp_path / "generated"), IngestOptions())
    assert len(list((tmp_path / "generated" / "train2017").iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["generated"]


def test_scenes_that_are_there_are_not_drawn_again(tmp_path):
    ensure_generated_data(tmp_path / "generated", TINY)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "generated").rglob("*")}
    assert not ensure_generated_data(tmp_path / "generated", TINY)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "generated").rglob("*")} == before


def test_other_parameters_replace_the_scenes(tmp_path):
    ensure_generated_data(tmp_path / "generated", TINY)
    more = GeneratedDataConfig(num_train=3, num_val=1, size_px=64, seed=3)
    assert ensure_generated_data(tmp_path / "generated", more)
    assert len(list((tmp_path / "generated" / "train2017").iterdir())) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["generated"]


def test_scenes_of_an_older_generator_are_replaced(tmp_path):
    ensure_generated_data(tmp_path / "generated", TINY)
    recipe = tmp_path / "generated" / "generated.json"
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"generator": "older"}))
    assert ensure_generated_data(tmp_path / "generated", TINY)


def test_a_drawing_that_was_cut_off_is_started_anew(tmp_path):
    (tmp_path / "generated.unfinished" / "train2017").mkdir(parents=True)
    assert ensure_generated_data(tmp_path / "generated", TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["generated"]


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path):
    (tmp_path / "generated").mkdir()
    (tmp_path / "generated" / "thesis.txt").write_text("precious")
    with pytest.raises(DataFolderError, match=r"must hold generated scenes or not exist: it has no generated\.json"):
        ensure_generated_data(tmp_path / "generated", TINY)
    assert (tmp_path / "generated" / "thesis.txt").read_text() == "precious"


def test_no_scenes_to_evaluate_on_are_refused():
    with pytest.raises(ValueError, match="`num_val` of the generated scenes must be positive. Received: 0"):
        GeneratedDataConfig(num_val=0)


def test_the_program_draws_scenes_with_a_manifest_and_prints_its_digest(tmp_path, capsys):
    command = [str(tmp_path / "scenes"), "--train", "2", "--eval", "1"]
    assert generated_data.main(command) == 0
    digest = json.loads((tmp_path / "scenes" / "manifest.json").read_text())["digest"]
    assert capsys.readouterr().out == f"{digest}\n"
    assert generated_data.main(command) == 0
    assert capsys.readouterr().out == f"{digest}\n"
    assert generated_data.main([str(tmp_path)]) == 2
    assert "must hold generated scenes or not exist" in capsys.readouterr().err
