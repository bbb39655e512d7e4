"""Tests of `scripts/audit_locks.py` and of what images and locks pin."""

from __future__ import annotations

import importlib.util
import re

import pytest


@pytest.fixture(scope="module")
def audit_locks(project_dir):
    spec = importlib.util.spec_from_file_location("audit_locks", project_dir / "scripts" / "audit_locks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_advisories_are_listed_with_the_release_that_fixes_them(audit_locks):
    report = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": [{"id": "GHSA-1", "fix_versions": ["2", "3"]}]},
            {"name": "b", "version": "4", "vulns": [{"id": "GHSA-2", "fix_versions": []}]},
            {"name": "c", "version": "5", "vulns": []},
        ]
    }
    assert audit_locks.summary("train.lock", report) == (
        [
            "  a 1: GHSA-1, fixed in 2, 3",
            "  b 4: GHSA-2, fixed in no release yet",
            "  2 advisories in 3 packages that were looked up",
        ],
        2,
    )


def test_a_package_that_the_database_does_not_know_counts_as_not_looked_up(audit_locks):
    report = {"dependencies": [{"name": "a", "version": "1", "skip_reason": "not found"}]}
    assert audit_locks.summary("train.lock", report) == (
        [
            "  0 advisories in 0 packages that were looked up",
            "  NOT looked up: 1 in train.lock, the first because: not found",
        ],
        0,
    )


def test_every_image_is_pinned_by_its_digest_and_resolves_nothing(project_dir):
    for path in sorted((project_dir / "docker").glob("*.Dockerfile")):
        text = path.read_text("utf-8").replace("\\\n", " ")
        bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
        assert bases and all(re.fullmatch(r"[\w.:/-]+@sha256:[0-9a-f]{64}", base) for base in bases), path.name
        installs = re.findall(r"pip install ([^&;\n]*)", text)
        assert installs and all("--no-deps" in each for each in installs), path.name


def test_every_install_of_the_makefile_resolves_nothing(project_dir):
    text = (project_dir / "Makefile").read_text("utf-8")
    installs = [line for line in text.splitlines() if "pip install" in line and not line.lstrip().startswith("#")]
    assert installs and all("--no-deps" in line for line in installs)


def test_setuptools_is_newer_than_its_known_advisories(project_dir):
    """CVE-2024-6345 is fixed in 70.0 and CVE-2025-47273 in 78.1.1."""
    for path in sorted((project_dir / "requirements").glob("*.lock")):
        for version in re.findall(r"^setuptools==([\d.]+)", path.read_text("utf-8"), re.MULTILINE):
            assert tuple(map(int, version.split("."))) >= (78, 1, 1), path.name


def test_no_document_installs_the_project_by_a_name_that_no_registry_has(project_dir):
    files = [project_dir / "README.md", *sorted((project_dir / "docs").glob("*.md"))]
    files += [
        path
        for package in ("maskformer_model", "components", "pipeline")
        for path in (project_dir / package).rglob("*.py")
    ]
    named = [path.name for path in files if re.search(r"pip install ['\"]?maskformer", path.read_text("utf-8"))]
    assert named == []
