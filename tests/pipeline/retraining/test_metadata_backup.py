"""Tests of `pipeline.retraining.metadata_backup`, on a database as ML Metadata makes it."""

import os
import sqlite3

import pytest

from pipeline.retraining import metadata_backup
from pipeline.retraining.metadata_backup import MetadataLockedError, back_up, ensure_whole, is_whole


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "metadata.sqlite")


def execute(path, *statements):
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def executions(path):
    connection = sqlite3.connect(path)
    found = [row[0] for row in connection.execute("SELECT id FROM Execution ORDER BY id")]
    connection.close()
    return found


@pytest.fixture
def database(path):
    execute(path, "CREATE TABLE Execution (id INTEGER PRIMARY KEY, note TEXT)")
    execute(path, *(f"INSERT INTO Execution VALUES ({number}, '{'x' * 2000}')" for number in range(1, 9)))
    return path


def test_a_whole_database_is_left_alone_and_none_is_no_damage(database, path, tmp_path):
    assert ensure_whole(database, str(tmp_path)) == ""
    assert ensure_whole(str(tmp_path / "other.sqlite"), str(tmp_path)) == ""
    back_up(str(tmp_path / "other.sqlite"))
    assert executions(database) == list(range(1, 9))


@pytest.mark.parametrize("left_bytes", [0, 50, 4096, 3 * 4096])
def test_a_database_that_was_cut_short_is_replaced_by_the_copy(database, tmp_path, left_bytes):
    back_up(database)
    os.truncate(database, left_bytes)
    assert not is_whole(database)
    assert "was damaged; it is replaced by the copy from before the last run" in ensure_whole(
        database, str(tmp_path / "pipeline")
    )
    assert is_whole(database)
    assert executions(database) == list(range(1, 9))
    assert (tmp_path / "metadata.sqlite.damaged").stat().st_size == left_bytes


def test_a_database_that_was_deleted_comes_back(database, tmp_path):
    back_up(database)
    os.remove(database)
    ensure_whole(database, str(tmp_path))
    assert executions(database) == list(range(1, 9))


def test_artifacts_of_executions_that_the_copy_does_not_know_go(database, tmp_path):
    back_up(database)
    artifacts = tmp_path / "pipeline"
    for number in (8, 9, 10):
        (artifacts / "Trainer" / "model" / str(number)).mkdir(parents=True)
        (artifacts / "Trainer" / ".system" / "executor_execution" / str(number)).mkdir(parents=True)
    with open(database, "wb") as file:
        file.write(b"not a database, " * 100)
    assert "without 2 executions' files" in ensure_whole(database, str(artifacts))
    assert [folder.name for folder in (artifacts / "Trainer" / "model").iterdir()] == ["8"]
    assert [folder.name for folder in (artifacts / "Trainer" / ".system" / "executor_execution").iterdir()] == ["8"]


def test_without_a_copy_the_damaged_file_is_kept_aside_and_that_is_said(database, tmp_path):
    with open(database, "wb") as file:
        file.write(b"not a database, " * 100)
    assert "there was no copy" in ensure_whole(database, str(tmp_path))
    assert not (tmp_path / "metadata.sqlite").exists()
    assert (tmp_path / "metadata.sqlite.damaged").exists()


def test_a_locked_database_is_not_taken_for_a_damaged_one(database, tmp_path, monkeypatch):
    monkeypatch.setattr(metadata_backup, "_BUSY_TIMEOUT_S", 0.0)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for action in (lambda: ensure_whole(database, str(tmp_path)), lambda: back_up(database)):
        with pytest.raises(MetadataLockedError, match="locked by another program"):
            action()
    other.rollback()
    other.close()
    assert ensure_whole(database, str(tmp_path)) == ""
    assert not (tmp_path / "metadata.sqlite.damaged").exists()
