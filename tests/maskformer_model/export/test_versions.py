"""Which folders are versions, and which is the newest."""

import pytest

from maskformer_model.export.versions import content, is_saved_model, list_versions, newest_model_dir, version_dir


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


def test_what_only_looks_like_a_number_is_no_version(tmp_path):
    for name in ("²", "٣", "1_0", "+7", "007", "9" * 30):
        add(tmp_path, name)
    add(tmp_path, "0")
    assert list_versions(tmp_path) == [0]


def test_content_changes_with_every_file(tmp_path):
    add(tmp_path, "10")
    seen = [content(tmp_path / "10")]
    (tmp_path / "10" / "variables").mkdir()
    (tmp_path / "10" / "variables" / "data").write_bytes(b"12")
    seen.append(content(tmp_path / "10"))
    (tmp_path / "10" / "variables" / "data").write_bytes(b"123")
    seen.append(content(tmp_path / "10"))
    assert [len(one) for one in seen] == [1, 2, 2] and len(set(seen)) == 3
    assert seen[2] == content(tmp_path / "10")
    assert content(tmp_path / "none") == ((".", -1, 2),)
