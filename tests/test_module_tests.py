"""Tests lie where their modules lie: a folder of tests for every folder of code, and no module without a test."""

from __future__ import annotations

import re

import pytest

from components.import_graph import ImportGraph, imported_names, package_of

PACKAGES = ("maskformer_model", "components", "pipeline")
# A module that is started as a process is named in a string.
MODULE_NAME = re.compile(rf"\b(?:{'|'.join(PACKAGES)})(?:\.\w+)+")
SHARED = "helpers"  # What several tests of a package use; holds no tests.


def folders_of(parent, *, with_file):
    """Paths of the folders below `parent` that hold such a file, relative to it."""
    return {path.parent.relative_to(parent).as_posix() for path in parent.rglob(with_file)}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_code_has_a_folder_of_tests_and_the_other_way_round(project_dir, package):
    # An experiment is a table; all of them are read by the tests of their parent folder.
    code = {
        folder for folder in folders_of(project_dir / package, with_file="[a-z]*.py") if "experiments/" not in folder
    }
    tests = folders_of(project_dir / "tests" / package, with_file="test_*.py")
    assert {folder for folder in tests if SHARED not in folder} == code


def test_every_module_is_used_by_a_test(project_dir):
    graph = ImportGraph.read(project_dir, PACKAGES)
    reached: set[str] = set()
    pending = set()
    for path in (project_dir / "tests").rglob("*.py"):
        source = path.read_text("utf-8")
        pending |= {*imported_names(source, package_of(project_dir, path)), *MODULE_NAME.findall(source)}
    while pending:
        name = pending.pop()
        while name and name not in graph.paths:
            name = name.rpartition(".")[0]
        if name in reached or not name:
            continue
        reached.add(name)
        named = MODULE_NAME.findall(graph.paths[name].read_text("utf-8"))
        pending |= {*graph.imports[name], *named, f"{name}.__main__"}
    assert {name for name in graph.paths if ".experiments." not in name} - reached == set()
