"""Tests of `pipeline.whole_files`."""

import pytest

from pipeline.whole_files import write_durably


def test_a_text_replaces_what_was_there_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "state.json"
    write_durably(path, "before")
    write_durably(str(path), "é\n")
    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [("state.json", b"\xc3\xa9\n")]


def test_a_text_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "state.json"
    write_durably(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_durably(path, "\ud800")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("state.json", "before")]
