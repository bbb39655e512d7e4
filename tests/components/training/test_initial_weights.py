"""Tests of `components.training.initial_weights`."""

import hashlib

import pytest

from components.training.initial_weights import initial_weights_digest


def written(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_dot_", ".")).write_text(content)
    return str(folder)


def test_nothing_has_no_digest(tmp_path):
    assert initial_weights_digest("") == ""
    assert initial_weights_digest(str(tmp_path / "absent")) == ""


def test_a_file_s_digest_is_of_its_name_and_content(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"weights")
    of_content = hashlib.sha256(b"weights").hexdigest()
    assert initial_weights_digest(str(path)) == hashlib.sha256(f"model.npz\0{of_content}\0".encode()).hexdigest()


@pytest.mark.parametrize("changed", ["config_dot_json", "model-00002-of-00002_dot_safetensors"])
def test_a_folder_is_seen_to_change_in_each_of_its_files(tmp_path, changed):
    files = {
        "config_dot_json": "{}",
        "model-00001-of-00002_dot_safetensors": "a",
        "model-00002-of-00002_dot_safetensors": "b",
    }
    before = initial_weights_digest(written(tmp_path / "model", **files))
    assert before == initial_weights_digest(written(tmp_path / "model", **files))
    assert before != initial_weights_digest(written(tmp_path / "model", **files | {changed: "c"}))


def test_of_a_finished_run_only_what_is_read_counts(tmp_path):
    run = {"model_dot_weights_dot_h5": "a", "experiment_dot_json": "{}", "categories_dot_json": "[]"}
    before = initial_weights_digest(written(tmp_path / "run", **run))
    assert before == initial_weights_digest(written(tmp_path / "run", evaluation_dot_json="{}"))
    for name in run:
        assert before != initial_weights_digest(written(tmp_path / "run", **run | {name: "other"}))


def test_a_checkpoint_is_all_of_its_files(tmp_path):
    files = {"ckpt-7_dot_index": "i", "ckpt-7_dot_data-00000-of-00001": "d", "ckpt-70_dot_index": "x"}
    source = f"{written(tmp_path / 'run', **files)}/ckpt-7"
    before = initial_weights_digest(source)
    written(tmp_path / "run", **{"ckpt-70_dot_index": "y"})
    assert initial_weights_digest(source) == before != ""
    written(tmp_path / "run", **{"ckpt-7_dot_data-00000-of-00001": "e"})
    assert initial_weights_digest(source) != before
