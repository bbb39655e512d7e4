"""Which folders are versions, and which is the newest."""

import pytest

from maskformer_model.export.versions import is_saved_model, list_versions, newest_model_dir, version_dir


def add(folder, name, *, whole=True):
    (folder / name).mkdir(parents=True)
    if whole:
        (folder / name / "saved_model.pb").write_bytes(b"")


def test_versions_count_as_numbers_and_only_whole_ones_count(tmp_path):
    for name in ("9", "10", "notes", "11.part"):
        add(tmp_path, name)
    add(tmp_path, "12", whole=False)
    assert list_versions(tmp_path) == [9, 10]
    assert newest_model_dir(tmp_path) == version_dir(tmp_path, 10) == str(tmp_path / "10")


def test_a_model_s_own_folder_is_itself(tmp_path):
    add(tmp_path, "10")
    assert is_saved_model(tmp_path / "10")
    assert newest_model_dir(tmp_path / "10") == str(tmp_path / "10")


def test_a_folder_without_a_model_is_named(tmp_path):
    assert list_versions(tmp_path / "none") == []
    with pytest.raises(FileNotFoundError, match=f"Received: {tmp_path}"):
        newest_model_dir(tmp_path)
