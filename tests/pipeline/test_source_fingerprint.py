"""Tests of `pipeline.source_fingerprint`."""

import pytest

from pipeline.source_fingerprint import source_fingerprint


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    (folder / "b.py").write_text("y = 2\n")
    return folder


def test_the_same_sources_elsewhere_have_the_same_fingerprint(package, tmp_path):
    copy = tmp_path / "elsewhere" / "package"
    copy.mkdir(parents=True)
    for file in package.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert source_fingerprint([package]) == source_fingerprint([copy])


def test_a_changed_line_changes_it(package):
    before = source_fingerprint([package])
    (package / "a.py").write_text("x = 3\n")
    assert source_fingerprint([package]) != before


def test_code_that_moves_between_files_changes_it(package):
    before = source_fingerprint([package])
    (package / "a.py").write_text("")
    (package / "b.py").write_text("x = 1\ny = 2\n")
    assert source_fingerprint([package]) != before


def test_compiled_files_do_not_count(package):
    before = source_fingerprint([package])
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    assert source_fingerprint([package]) == before


def test_a_single_file_can_be_named(package):
    assert source_fingerprint([package / "a.py"]) != source_fingerprint([package / "b.py"])


def test_no_source_at_all_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="must hold Python sources"):
        source_fingerprint([tmp_path])
