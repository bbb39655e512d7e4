"""Tests of `components.pushing.model_versions`."""

import resource
import shutil
import subprocess
import sys
import time

import pytest

from components.pushing.model_versions import (
    content_hash,
    keep_newest,
    list_versions,
    list_withdrawn,
    publish,
    restore,
    version_dir,
    withdraw,
    withdrawn_hashes,
)


@pytest.fixture
def model_dir(tmp_path):
    return make_model(tmp_path / "model", weights=b"weights")


def make_model(folder, weights):
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(weights)
    return folder


def test_a_pushed_model_is_a_version_named_by_its_time(model_dir, tmp_path):
    serving = tmp_path / "serving"
    assert publish(model_dir, serving, now_s=1_700_000_000) == 1_700_000_000
    assert list_versions(serving) == [1_700_000_000]
    assert content_hash(version_dir(serving, 1_700_000_000)) == content_hash(model_dir)
    assert [path.name for path in serving.iterdir()] == ["1700000000"]


def test_a_clock_that_was_set_back_still_gives_the_largest_version(model_dir, tmp_path):
    publish(model_dir, tmp_path / "serving", now_s=100)
    assert publish(model_dir, tmp_path / "serving", now_s=50) == 101


def test_what_a_killed_push_left_is_no_version_and_is_cleared_by_the_next_push(model_dir, tmp_path):
    serving = tmp_path / "serving"
    shutil.copytree(model_dir, serving / ".incoming-100")
    assert list_versions(serving) == []
    assert publish(model_dir, serving, now_s=200) == 200
    assert [path.name for path in serving.iterdir()] == ["200"]


def test_a_push_that_fails_leaves_what_served_before(model_dir, tmp_path):
    serving = tmp_path / "serving"
    publish(model_dir, serving, now_s=100)
    (model_dir / "variables" / "broken").symlink_to(tmp_path / "absent")  # It cannot be copied.
    with pytest.raises(OSError):
        publish(model_dir, serving, now_s=200)
    assert [path.name for path in serving.iterdir()] == ["100"]


# Runs a program with a file system of 300 kB, which takes no rights where the kernel allows user namespaces.
_MOUNT_AND_RUN = 'mount -t tmpfs -o size=300k disk "$0" && exec "$@"'
_ON_A_SMALL_DISK = ["unshare", "--map-root-user", "--mount", "sh", "-c", _MOUNT_AND_RUN]
_PUSH_THREE_TIMES = """
import os, sys
from components.pushing.model_versions import publish
small, large, serving = sys.argv[1:]
publish(small, serving, now_s=100)
try:
    publish(large, serving, now_s=200)
except OSError as error:
    print("No space left on device" in str(error), os.listdir(serving))
print(publish(small, serving, now_s=300), sorted(os.listdir(serving)))
"""


def test_a_real_disk_that_is_full_in_the_middle_of_a_push_leaves_what_served_before(model_dir, tmp_path, project_dir):
    large, disk = make_model(tmp_path / "large", weights=b"0" * 400_000), tmp_path / "disk"
    disk.mkdir()
    if subprocess.run([*_ON_A_SMALL_DISK, disk, "true"], capture_output=True).returncode:
        pytest.skip("This machine lets nobody mount in a user namespace; the test below fills a file, not a disk.")
    program = [sys.executable, "-c", _PUSH_THREE_TIMES, model_dir, large, disk / "serving"]
    done = subprocess.run(
        [*_ON_A_SMALL_DISK, disk, *program], cwd=project_dir, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["True ['100']", "300 ['100', '300']"]


def test_a_disk_that_is_full_in_the_middle_of_a_push_leaves_what_served_before(model_dir, tmp_path):
    serving = tmp_path / "serving"
    publish(model_dir, serving, now_s=100)
    (model_dir / "variables" / "large").write_bytes(b"0" * 200_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # The kernel refuses the rest of the large file, after some of it was written.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            publish(model_dir, serving, now_s=200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in serving.iterdir()] == ["100"]
    assert publish(model_dir, serving, now_s=200) == 200


def test_a_folder_without_a_graph_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold saved_model.pb"):
        publish(tmp_path, tmp_path / "serving", now_s=100)


def test_only_numbered_folders_with_a_graph_are_versions(model_dir, tmp_path):
    serving = tmp_path / "serving"
    shutil.copytree(model_dir, serving / "9")
    shutil.copytree(model_dir, serving / "10")
    shutil.copytree(model_dir, serving / "old")
    (serving / "11").mkdir()
    assert list_versions(serving) == [9, 10]
    assert list_versions(tmp_path / "absent") == []


def test_the_hash_sees_content_and_names_and_not_the_place(model_dir, tmp_path):
    same = make_model(tmp_path / "same", weights=b"weights")
    other = make_model(tmp_path / "other", weights=b"weightS")
    renamed = make_model(tmp_path / "renamed", weights=b"weights")
    (renamed / "variables" / "variables.data-00000-of-00001").rename(renamed / "variables" / "variables.index")
    assert content_hash(same) == content_hash(model_dir)
    assert content_hash(other) != content_hash(model_dir)
    assert content_hash(renamed) != content_hash(model_dir)
    with pytest.raises(FileNotFoundError, match="`model_dir` must be a folder"):
        content_hash(tmp_path / "absent")


def test_only_the_newest_versions_stay(model_dir, tmp_path):
    serving = tmp_path / "serving"
    for now_s in (100, 200, 300, 400):
        publish(model_dir, serving, now_s=now_s)
    withdraw(serving, 400)
    assert keep_newest(serving, 2) == [100]
    assert sorted(path.name for path in serving.iterdir()) == [".withdrawn-400", "200", "300"]
    assert keep_newest(serving, 2) == []
    with pytest.raises(ValueError, match="`num_kept` must be positive. Received: 0"):
        keep_newest(serving, 0)


def test_a_withdrawn_version_is_out_of_service_and_comes_back_as_it_was(model_dir, tmp_path):
    serving = tmp_path / "serving"
    publish(model_dir, serving, now_s=100)
    publish(make_model(tmp_path / "worse", weights=b"worse"), serving, now_s=200)
    worse = content_hash(version_dir(serving, 200))
    withdraw(serving, 200)
    assert (list_versions(serving), list_withdrawn(serving), withdrawn_hashes(serving)) == ([100], [200], {worse})
    with pytest.raises(FileNotFoundError, match=r"one of \[100\]. Received: 200"):
        withdraw(serving, 200)
    restore(serving, 200)
    assert (list_versions(serving), list_withdrawn(serving)) == ([100, 200], [])
    assert content_hash(version_dir(serving, 200)) == worse
    with pytest.raises(FileNotFoundError, match=r"one of \[\]. Received: 200"):
        restore(serving, 200)


def test_the_number_of_a_withdrawn_version_is_not_used_again(model_dir, tmp_path):
    publish(model_dir, tmp_path / "serving", now_s=100)
    withdraw(tmp_path / "serving", 100)
    assert publish(model_dir, tmp_path / "serving", now_s=100) == 101


_PUSH_OFTEN = """
import sys
from components.pushing.model_versions import keep_newest, publish
print("ready", flush=True)
for second in range(1, 10**6):
    publish(sys.argv[1], sys.argv[2], now_s=second)
    keep_newest(sys.argv[2], 3)
"""


@pytest.mark.parametrize("after_s", [0.02, 0.11, 0.23, 0.37])
def test_a_push_that_is_killed_leaves_each_version_whole_or_absent(model_dir, tmp_path, project_dir, after_s):
    (model_dir / "variables" / "large").write_bytes(b"x" * 3_000_000)
    expected, serving = content_hash(model_dir), tmp_path / "serving"
    command = [sys.executable, "-c", _PUSH_OFTEN, str(model_dir), str(serving)]
    with subprocess.Popen(command, cwd=project_dir, stdout=subprocess.PIPE) as pushing:
        pushing.stdout.readline()
        time.sleep(after_s)  # Somewhere in the middle of something; any moment must do.
        pushing.kill()
    versions = list_versions(serving)
    assert all(content_hash(version_dir(serving, version)) == expected for version in versions)
    assert all(path.name.isdigit() or path.name.startswith(".") for path in serving.glob("*"))
    newest = publish(model_dir, serving, now_s=0)
    assert list_versions(serving) == [*versions, newest]
    assert all(path.name.isdigit() for path in serving.iterdir())
