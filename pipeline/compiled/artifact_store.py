"""Stores the artifacts of compiled runs on one machine: files in a folder that imitates a bucket, facts in a list.

A step never sees the bucket. Its inputs are copied into a separate folder before it, and its outputs are copied out
after it. During the step `mount` shows that folder, as `/` shows a container's file system. So an address means the
same in every step, and a step cannot read what it was not given.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
from typing import Any

from pipeline.local_run.json_lines import append_json_line, read_json_lines

_NAME_PREFIX = "projects/0/locations/local/metadataStores/default/artifacts/"
_SCHEMES = {"gs://": "gcs/", "minio://": "minio/", "s3://": "s3/"}
_CLAUSES = {
    "title": re.compile(r'schema_title="([^"]*)"'),
    "state": re.compile(r"state=(\w+)"),
    "name": re.compile(r'name="([^"]*)"'),
    "number": re.compile(r"metadata\.(\w+)\.number_value=([-\d.]+)"),
}


class UnsupportedQueryError(ValueError):
    """A resolver's query has an unsupported clause."""


@dataclasses.dataclass(frozen=True)
class ArtifactStore:
    """The bucket, the list and the mount below one folder.

    Attributes:
        root: The folder for everything that runs write.
    """

    root: pathlib.Path

    @property
    def mount(self) -> pathlib.Path:
        """Returns the path under which a step finds its folder."""
        return self.root / "mount"

    def new_name(self) -> str:
        """Returns a resource name that no artifact has."""
        return f"{_NAME_PREFIX}{len(self._all()) + 1}"

    def attach(self, folder: pathlib.Path) -> None:
        """Makes `mount` show a folder."""
        new = self.root / "mount.new"
        new.unlink(missing_ok=True)
        new.symlink_to(folder)
        os.replace(new, self.mount)

    def copy_in(self, uri: str, folder: pathlib.Path) -> None:
        """Copies an artifact's files into a step's folder."""
        source, target = self._in_bucket(uri), folder / self._place(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)

    def copy_out(self, uri: str, folder: pathlib.Path) -> None:
        """Copies an artifact's files from the step into the bucket; there may be none."""
        source, target = folder / self._place(uri), self._in_bucket(uri)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)

    def open_path(self, uri: str) -> pathlib.Path:
        """Returns where an artifact's files are, to read them after the run."""
        return self._in_bucket(uri)

    def record(self, artifact: dict[str, Any]) -> None:
        """Adds an artifact to the list."""
        append_json_line(self.root / "artifacts.jsonl", artifact)

    def query(self, text: str) -> dict[str, Any] | None:
        """Returns the newest artifact that a resolver's filter matches, or None.

        Raises:
            UnsupportedQueryError: if a clause is not supported.
        """
        clauses = [_parse_clause(clause) for clause in text.split(" AND ")]
        found = [artifact for artifact in self._all() if all(_matches(artifact, clause) for clause in clauses)]
        return found[-1] if found else None

    def _all(self) -> list[dict[str, Any]]:
        return read_json_lines(self.root / "artifacts.jsonl")

    def _in_bucket(self, uri: str) -> pathlib.Path:
        return self.root / "bucket" / self._place(uri)

    def _place(self, uri: str) -> str:
        """Returns an address's path below the mount, and below the bucket."""
        for scheme, folder in _SCHEMES.items():
            if uri.startswith(scheme):
                return folder + uri.removeprefix(scheme)
        return os.path.relpath(uri, self.mount)


def _parse_clause(clause: str) -> tuple[str, re.Match[str]]:
    for kind, pattern in _CLAUSES.items():
        if match := pattern.fullmatch(clause.strip()):
            return kind, match
    raise UnsupportedQueryError(f"A resolver's filter must be made of {list(_CLAUSES)}. Received: {clause}")


def _matches(artifact: dict[str, Any], clause: tuple[str, re.Match[str]]) -> bool:
    kind, match = clause
    if kind == "title":
        return artifact["schema_title"] == match[1]
    if kind == "state":
        return match[1] == "LIVE"  # Nothing is ever removed here.
    if kind == "name":
        return artifact["name"] == match[1]
    return artifact.get("metadata", {}).get(match[1]) == float(match[2])
