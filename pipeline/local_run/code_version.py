"""Finds the version of the code that a run uses: the commit, if there is a checkout, and a hash of the sources."""

from __future__ import annotations

import pathlib
import subprocess

from components.import_graph import package_dir
from components.source_fingerprint import source_fingerprint

PACKAGES = ("maskformer_model", "components", "pipeline")


def code_version(project_dir: pathlib.Path) -> dict[str, str | bool | None]:
    """Returns the version of the code in a folder.

    Args:
        project_dir: The folder that holds `PACKAGES`.

    Returns:
        `commit`, None outside of a checkout or without git; `changed`, whether tracked files differ from the commit,
        None if there is none; `sources_sha256`, the hash of every Python file of the packages.
    """
    commit = _git(project_dir, "rev-parse", "HEAD")
    changes = None if commit is None else _git(project_dir, "status", "--porcelain", "--untracked-files=no")
    return {
        "commit": commit,
        "changed": None if changes is None else bool(changes),
        "sources_sha256": source_fingerprint([package_dir(project_dir, name) for name in PACKAGES]),
    }


def _git(project_dir: pathlib.Path, *arguments: str) -> str | None:
    if not (project_dir / ".git").exists():
        return None  # The project is installed or unpacked: a repository in a parent folder is another project's.
    try:
        command = ["git", "-C", str(project_dir), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
