"""Tests of `pipeline.whole_files`."""

import errno
import os

import pytest

from pipeline.whole_files import write_durably


def test_a_text_replaces_what_was_there_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "state.json"
    write_durably(path, "before")
    write_durably(str(path), "é\n")
    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [("state.json", b"\xc3\xa9\n")]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "state.json"
    write_durably(path, "before")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, "after")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("state.json", "before")]


def test_half_of_an_emoji_becomes_a_question_mark(tmp_path):
    write_durably(tmp_path / "page.html", "é \ud83d!")
    assert (tmp_path / "page.html").read_bytes() == b"\xc3\xa9 ?!"
