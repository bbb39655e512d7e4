"""Tests of `pipeline.local_run.failure_reason`."""

import sqlite3

import pytest

from maskformer_model.pretrained.sources import read_checkpoint
from pipeline.local_run.failure_reason import failure_reason
from pipeline.retraining import metadata_backup


def raised(make):
    try:
        make()
    except Exception as error:
        return error
    raise RuntimeError("nothing was raised")


def chained():
    try:
        raise ValueError("12 of 40 records are bad.")
    except ValueError as error:
        raise RuntimeError("Execution 3 failed") from error


def test_the_first_error_of_a_chain_is_told():
    assert failure_reason(raised(chained)) == "12 of 40 records are bad."


@pytest.fixture
def locked(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata_backup, "_BUSY_TIMEOUT_S", 0.0)
    path = str(tmp_path / "metadata.sqlite")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE Execution (id)")
    connection.execute("BEGIN EXCLUSIVE")
    yield path
    connection.close()


def test_what_this_project_says_of_a_foreign_error_is_told_and_not_that_error(locked, tmp_path):
    sentence = f"{locked} is locked by another program. End that, and start again."
    assert failure_reason(raised(lambda: metadata_backup.require_usable(locked))) == sentence
    (tmp_path / "config.json").write_text("{")
    assert failure_reason(raised(lambda: read_checkpoint(str(tmp_path)))).startswith(f"{tmp_path}/config.json is not")


def test_it_is_told_through_the_layers_of_other_packages(locked):
    def layered():
        try:
            metadata_backup.require_usable(locked)
        except metadata_backup.MetadataLockedError as error:
            raise RuntimeError("Execution 3 failed") from error

    assert failure_reason(raised(layered)).startswith(f"{locked} is locked")


def test_an_error_while_another_one_is_handled_hides_nothing():
    def failing_twice():
        try:
            raise ValueError("12 of 40 records are bad.")
        finally:
            raise OSError("cannot be removed")

    assert failure_reason(raised(failing_twice)) == "12 of 40 records are bad."


def test_a_beam_step_s_traceback_is_cut_down_to_its_message():
    text = (
        "Traceback (most recent call last):\n"
        '  File "apache_beam/runners/common.py", line 1495, in process\n'
        "    return self.do_fn_invoker.invoke_process(windowed_value)\n"
        '  File "components/x.py", line 3, in process\n'
        '    raise KeptAsideError("too many")\n'
        "components.x.KeptAsideError: 12 of 40 records were kept aside, more than 10 %.\n"
        "  missing photo: 12 [while running 'CheckShare-ptransform-17']\n"
    )
    expected = "12 of 40 records were kept aside, more than 10 %.\n  missing photo: 12"
    assert failure_reason(RuntimeError(text)) == expected


def test_a_beam_step_s_name_behind_a_plain_message_is_dropped():
    assert failure_reason(ValueError("no such file: a.jpg [while running 'ReadPhotos']")) == "no such file: a.jpg"


def test_a_key_error_is_told_without_its_quotes():
    assert failure_reason(KeyError("Unknown experiment 'x'.")) == "Unknown experiment 'x'."


def test_an_error_without_words_is_told_in_ours():
    assert failure_reason(MemoryError()).startswith("Not enough memory.")


def test_a_full_disk_is_told_with_its_path_and_the_next_step():
    error = OSError(28, "No space left on device", "/runs/model.h5")
    expected = "/runs/model.h5: No space left on device. Free space there, or choose another disk, and start again."
    assert failure_reason(error) == expected
