"""Tests of `pipeline.local_run.moved_root`."""

from __future__ import annotations

import sqlite3

import pytest

from pipeline.local_run.moved_root import follow_moved_root

BEFORE = "/runs/100% old_root [1]"


@pytest.fixture
def root(tmp_path):
    """A root with one artifact, whose database was written where it lay before."""
    root = tmp_path / "new [root]"
    (root / "pipeline" / "Trainer" / "model" / "7").mkdir(parents=True)
    connection = sqlite3.connect(root / "metadata.sqlite")
    with connection:
        connection.execute("CREATE TABLE Artifact (id INTEGER, uri TEXT)")
        connection.execute("CREATE TABLE ArtifactProperty (artifact_id INTEGER, name TEXT, string_value TEXT)")
        uris = [f"{BEFORE}/pipeline/Trainer/model/7", f"{BEFORE}/pipeline/Gone/model/8", "/elsewhere/x", None]
        connection.executemany("INSERT INTO Artifact VALUES (?, ?)", list(enumerate(uris)))
        values = [f"{BEFORE}/serving/17", f"{BEFORE} and more", None]
        connection.executemany("INSERT INTO ArtifactProperty VALUES (?, 'a', ?)", list(enumerate(values)))
    connection.close()
    return root


def follow(root):
    return follow_moved_root(str(root / "metadata.sqlite"), str(root))


def column(root, query):
    connection = sqlite3.connect(root / "metadata.sqlite")
    rows = connection.execute(query).fetchall()
    connection.close()
    return [value for (value,) in rows]


def test_paths_below_the_earlier_root_move_with_it_and_no_others(root):
    assert follow(root) == f"The root was moved here from {BEFORE}; its artifacts are found here now."
    assert column(root, "SELECT uri FROM Artifact ORDER BY id") == [
        f"{root}/pipeline/Trainer/model/7",
        f"{root}/pipeline/Gone/model/8",
        "/elsewhere/x",
        None,
    ]
    values = column(root, "SELECT string_value FROM ArtifactProperty ORDER BY artifact_id")
    assert values == [f"{root}/serving/17", f"{BEFORE} and more", None]


def test_a_root_that_stayed_where_it_was_is_left_alone(root):
    follow(root)
    before = (root / "metadata.sqlite").read_bytes()
    assert follow(root) == ""
    assert (root / "metadata.sqlite").read_bytes() == before


def test_a_copy_beside_the_first_root_keeps_the_paths_of_that(root, tmp_path):
    """Both exist, so nothing says that the artifacts are no longer there."""
    first = tmp_path / "first"
    (first / "pipeline" / "Trainer" / "model" / "7").mkdir(parents=True)
    connection = sqlite3.connect(root / "metadata.sqlite")
    with connection:
        connection.execute("UPDATE Artifact SET uri = ? WHERE id = 0", (f"{first}/pipeline/Trainer/model/7",))
    connection.close()
    assert follow(root) == ""


def test_a_root_without_a_database_or_with_an_empty_one_was_not_moved(tmp_path):
    assert follow_moved_root(str(tmp_path / "none.sqlite"), str(tmp_path)) == ""
    (tmp_path / "metadata.sqlite").write_bytes(b"")
    assert follow(tmp_path) == ""
    sqlite3.connect(tmp_path / "metadata.sqlite").close()
    assert follow(tmp_path) == ""
