"""Tests of `components.whole_files`."""

import pytest

from components.whole_files import whole_file, write_text


def test_a_text_replaces_what_was_there_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("before")
    write_text(str(path), "{}")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "{}")]


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(OSError, match="full"), whole_file(str(path)) as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        raise OSError("The disk is full.")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "before")]
