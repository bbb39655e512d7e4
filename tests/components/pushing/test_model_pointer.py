"""The pointer to what was pushed last, who writes it and who reads it."""

from __future__ import annotations

import json

import pytest

from components.pushing import model_versions
from components.pushing.last_pushed_model import ABSENT_FILE, LastPushedModel
from components.pushing.model_pointer import ModelPointer, read_pointer, write_pointer
from pipeline import rollback


def saved_model(folder, text="model"):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text(text)
    return folder


def test_a_pointer_is_read_as_it_was_written(tmp_path):
    model = saved_model(tmp_path / "1")
    path = str(tmp_path / "blessed" / "LATEST.json")
    assert read_pointer(path) is None
    pointer = ModelPointer(version="1", destination=str(model), model_uri="minio://b/k")
    write_pointer(path, pointer)
    assert read_pointer(path) == pointer
    assert [file.name for file in (tmp_path / "blessed").iterdir()] == ["LATEST.json"]


def test_a_pointer_to_nothing_is_neither_written_nor_believed(tmp_path):
    path = tmp_path / "LATEST.json"
    with pytest.raises(ValueError, match="SavedModel"):
        write_pointer(str(path), ModelPointer(version="1", destination=str(tmp_path / "gone")))
    assert not path.exists()
    path.write_text(json.dumps({"version": "1", "destination": str(tmp_path / "gone")}))
    with pytest.raises(ValueError, match="gone"):
        read_pointer(str(path))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": "1"}', '{"version": "1", "colour": "red"}'])
def test_a_damaged_pointer_is_refused(tmp_path, text):
    path = tmp_path / "LATEST.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="pointer"):
        read_pointer(str(path))


def baseline_of(tmp_path, pointer_file):
    """Runs the component's executor; returns its output artifact."""
    from tfx.types import standard_artifacts

    node = LastPushedModel(pointer_file=str(pointer_file))
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "artifact")
    node.executor_spec.executor_class().Do({}, {"model": [model]}, {"pointer_file": str(pointer_file)})
    return model


def test_the_baseline_is_a_copy_of_what_was_pushed_last(tmp_path):
    saved_model(tmp_path / "serving" / "7", "seventh")
    pointer = ModelPointer(version="7", destination=str(tmp_path / "serving" / "7"))
    write_pointer(str(tmp_path / "LATEST.json"), pointer)
    model = baseline_of(tmp_path, tmp_path / "LATEST.json")
    assert (tmp_path / "artifact" / "Format-Serving" / "saved_model.pb").read_text() == "seventh"
    assert model.get_int_custom_property("absent") == 0
    assert model.get_string_custom_property("pushed_version") == "7"


def test_where_nothing_was_pushed_the_baseline_is_marked_as_absent(tmp_path):
    model = baseline_of(tmp_path, tmp_path / "LATEST.json")
    assert model.get_int_custom_property("absent") == 1
    assert [file.name for file in (tmp_path / "artifact").iterdir()] == [ABSENT_FILE]


def test_the_pointer_follows_a_rollback(tmp_path):
    serving, path = tmp_path / "serving", tmp_path / "blessed" / "LATEST.json"
    for version in (1, 2):
        saved_model(serving / str(version))
    write_pointer(str(path), ModelPointer(version="2", destination=str(serving / "2")))
    assert rollback.main(["--root", str(tmp_path)]) == 0
    assert read_pointer(str(path)) == ModelPointer(version="1", destination=str(serving / "1"))
    assert rollback.main(["--root", str(tmp_path), "--restore", "2"]) == 0
    assert read_pointer(str(path)).version == "2"
    assert model_versions.list_versions(serving) == [1, 2]
