"""Tests of `pipeline.retraining.metadata_backup`, on a database as ML Metadata makes it."""

import os
import pathlib
import sqlite3

import pytest

from pipeline.retraining import metadata_backup
from pipeline.retraining.metadata_backup import (
    SCHEMA_VERSION,
    MetadataLockedError,
    UnusableMetadataError,
    back_up,
    ensure_whole,
    is_whole,
    require_usable,
    schema_version,
)


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


def damage_the_middle(database):
    with open(database, "r+b") as file:
        file.seek(2 * 4096)
        file.write(bytes(2 * 4096))
    assert not is_whole(database)


def test_a_damaged_database_does_not_replace_the_good_copy(database, tmp_path):
    back_up(database)
    damage_the_middle(database)
    back_up(database)
    assert "replaced by the copy" in ensure_whole(database, str(tmp_path))
    assert executions(database) == list(range(1, 9))


def test_a_copy_that_finds_no_room_is_an_error_of_the_disk(database, monkeypatch):
    monkeypatch.setattr(metadata_backup, "BACKUP_SUFFIX", ".no/folder/copy")
    with pytest.raises(OSError, match=r"cannot be copied to .*unable to open database file"):
        back_up(database)


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


def test_a_run_begins_with_no_database_an_empty_one_or_one_of_this_version(database, tmp_path):
    require_usable(str(tmp_path / "none.sqlite"))
    (tmp_path / "empty.sqlite").write_bytes(b"")
    require_usable(str(tmp_path / "empty.sqlite"))
    execute(database, "CREATE TABLE MLMDEnv (schema_version INTEGER)", f"INSERT INTO MLMDEnv VALUES ({SCHEMA_VERSION})")
    require_usable(database)
    assert executions(database) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_run_does_not_begin_with_a_database_of_a_later_version(database):
    execute(database, "CREATE TABLE MLMDEnv (schema_version INTEGER)", "INSERT INTO MLMDEnv VALUES (99)")
    with pytest.raises(UnusableMetadataError, match=r"metadata\.sqlite is of version 99 .* knows up to 10"):
        require_usable(database)


@pytest.mark.parametrize("content", [b"SQLite format 3\0", b"no database", None])
def test_a_run_does_not_begin_with_a_damaged_database(database, content):
    whole = pathlib.Path(database).read_bytes()
    pathlib.Path(database).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(UnusableMetadataError, match=r"metadata\.sqlite is damaged. Put a copy of it there"):
        require_usable(database)


def test_a_run_does_not_begin_with_a_locked_database(database, monkeypatch):
    monkeypatch.setattr(metadata_backup, "_BUSY_TIMEOUT_S", 0.0)
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(MetadataLockedError, match="is locked by another program. End that"):
        require_usable(database)
    connection.close()


def test_the_version_is_that_of_the_installed_library(path):
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = path
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    metadata_store.MetadataStore(config)
    assert schema_version(path) == SCHEMA_VERSION


def test_the_database_of_a_folder_with_marks_of_addresses_in_its_name_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata_backup, "_BUSY_TIMEOUT_S", 0.0)
    folder = tmp_path / "a #1 % 20"
    folder.mkdir()
    execute(folder / "metadata.sqlite", "CREATE TABLE MLMDEnv (schema_version)", "INSERT INTO MLMDEnv VALUES (99)")
    assert schema_version(str(folder / "metadata.sqlite")) == 99
    assert not is_whole(str(folder / "metadata.sqlite"))  # It has no executions.
    assert [path.name for path in tmp_path.iterdir()] == ["a #1 % 20"]
