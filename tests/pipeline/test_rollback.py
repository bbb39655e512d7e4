"""Going back to the version before, by the command."""

import subprocess
import sys

import pytest

from components.pushing.model_versions import list_versions, list_withdrawn
from maskformer_model import command_errors
from pipeline import rollback


@pytest.fixture
def root(tmp_path):
    """A root that serves the versions 100, 200 and 300."""
    for version in (100, 200, 300):
        folder = tmp_path / "serving" / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"graph")
    return tmp_path


def run(root, *flags):
    return rollback.main(["--root", str(root), *flags])


def test_the_version_before_serves_again(root, capsys):
    assert run(root) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Withdrawn: 300",
        "Serves: 200",
        "Versions: [100, 200], withdrawn: [300]",
    ]
    assert list_versions(root / "serving") == [100, 200]


def test_a_named_version_serves_again_and_the_newer_ones_come_back_on_demand(root):
    assert run(root, "--to", "100") == 0
    assert (list_versions(root / "serving"), list_withdrawn(root / "serving")) == ([100], [200, 300])
    assert run(root, "--restore", "200") == 0
    assert list_versions(root / "serving") == [100, 200]


@pytest.mark.parametrize("flags", [("--to", "300"), ("--to", "50"), ("--restore", "100")])
def test_a_version_that_cannot_be_gone_to_is_refused(root, flags, capsys):
    assert run(root, *flags) == command_errors.EXIT_USAGE
    assert "Received: " in capsys.readouterr().err
    assert list_versions(root / "serving") == [100, 200, 300]


def test_a_bucket_is_refused_with_what_to_do(capsys):
    assert run("gs://bucket/maskformer") == command_errors.EXIT_USAGE
    error = capsys.readouterr().err
    assert "keep `pipeline.root` on a volume" in error
    assert "Received: gs://bucket/maskformer" in error


def test_a_single_version_is_not_taken_away(root, capsys):
    run(root, "--to", "100")
    assert run(root) == command_errors.EXIT_USAGE
    assert "no version before the newest" in capsys.readouterr().err
    assert list_versions(root / "serving") == [100]


def test_it_lists_without_changing_anything_as_a_script(root, project_dir):
    command = [sys.executable, "pipeline/rollback.py", "--root", str(root), "--list"]
    done = subprocess.run(command, cwd=project_dir, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["Serves: 300", "Versions: [100, 200, 300], withdrawn: []"]
    assert list_versions(root / "serving") == [100, 200, 300]
