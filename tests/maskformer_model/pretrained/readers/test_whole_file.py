"""Tests of `maskformer_model.pretrained.readers.whole_file`."""

import pytest

from maskformer_model.pretrained.readers.whole_file import Budget, require_whole_file


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty. Download"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><title>Sign in</title>", "is a web page"),
        (b"\n <HTML>", "is a web page"),
    ],
)
def test_what_is_no_file_of_weights_is_named_with_its_path(tmp_path, content, reason):
    path = tmp_path / "model [1].pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as refused:
        require_whole_file(path)
    assert str(path) in str(refused.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        require_whole_file(tmp_path / "none.pth")
    with pytest.raises(ValueError, match="is a folder"):
        require_whole_file(tmp_path)


def test_any_other_content_passes(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02N.")
    require_whole_file(tmp_path / "a.pkl")


def test_a_file_may_grow_fourfold_and_by_64_mebibytes():
    budget = Budget.of_size(100)
    budget.spend(400 + 64 * 2**20)
    with pytest.raises(ValueError, match="A checkpoint of 100 bytes must not grow to more than 67109264 bytes"):
        budget.spend(1)
