"""Which versions are tried, and when again."""

import pytest

from maskformer_model.serve import version_folder
from maskformer_model.serve.version_folder import VersionFolder


def add(folder, version, data=b"graph"):
    (folder / version).mkdir(exist_ok=True)
    (folder / version / "saved_model.pb").write_bytes(data)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    now = [0.0]
    monkeypatch.setattr(version_folder.time, "monotonic", lambda: now[0])
    return now


def test_a_version_is_due_once_two_looks_see_the_same_files_and_at_once_where_nothing_serves(tmp_path):
    folder = VersionFolder(str(tmp_path))
    add(tmp_path, "100")
    [found] = folder.look()
    assert not folder.is_due(found, nothing_served=False)
    assert folder.is_due(found, nothing_served=True)
    add(tmp_path, "100", b"graph, copied further")
    [found] = folder.look()
    assert not folder.is_due(found, nothing_served=False)
    [found] = folder.look()
    assert folder.is_due(found, nothing_served=False)
    assert folder.is_as_found(found)
    add(tmp_path, "100", b"other")
    assert not folder.is_as_found(found)


def test_a_version_that_failed_is_due_when_its_files_change_and_at_growing_intervals(tmp_path, clock):
    folder = VersionFolder(str(tmp_path))
    add(tmp_path, "100")

    def is_due():
        [found] = folder.look()
        return folder.is_due(found, nothing_served=True), found

    assert folder.failed(is_due()[1]) == 5.0
    assert not is_due()[0]
    clock[0] = 5.0
    due, found = is_due()
    assert due and folder.failed(found) == 10.0
    clock[0] = 14.9
    assert not is_due()[0]
    add(tmp_path, "100", b"whole")
    assert not is_due()[0]  # Somebody may still be copying.
    assert is_due()[0]
    waits = [folder.failed(is_due()[1]) for _ in range(7)]
    assert waits == [20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
    folder.succeeded(found)
    assert folder.failed(found) == 5.0


def test_a_version_that_went_away_and_came_back_has_not_failed(tmp_path, clock):
    folder = VersionFolder(str(tmp_path))
    add(tmp_path, "100")
    [found] = folder.look()
    folder.failed(found)
    (tmp_path / "100").rename(tmp_path / ".withdrawn-100")
    assert folder.look() == []
    (tmp_path / ".withdrawn-100").rename(tmp_path / "100")
    [found] = folder.look()
    assert folder.is_due(found, nothing_served=True)
