"""Imports point one way, between packages and between folders, and the mathematics knows no TensorFlow.

The floors of `maskformer_model` are in `docs/architecture.md`.
"""

from __future__ import annotations

import graphlib
import pathlib
from collections.abc import Mapping

import pytest

from components.import_graph import ImportGraph, imported_names, package_of

PACKAGES = ("maskformer_model", "components", "pipeline")

# What a package may not import, wherever in the file.
FORBIDDEN = {
    "maskformer_model": {"apache_beam", "benchmarks", "components", "kfp", "ml_metadata", "pipeline", "tests", "tfx"},
    "components": {"benchmarks", "pipeline", "tests"},
    "pipeline": {"benchmarks", "tests"},
}

# Folders of maskformer_model, from the ground up. A folder imports from its own floor and from lower ones; what lies
# loose in the package are the commands, the top floor. Folders on one floor may import each other one way.
FLOORS = (
    {"backend", "config"},
    {"data", "modeling"},
    {"inference", "losses", "metrics", "pretrained", "scenes"},
    {"experiments", "export"},
    {"prediction", "serve", "training"},
)
# Loose, because users import categories by this name, and it reads its json; every folder may use them, as all commands
# use the parser, the boundary that turns errors into sentences, and the list of extras.
GROUND_MODULES = {"categories", "coco_schema", "command_errors", "command_parser", "extras"}

# At TensorFlow's boundary: files, tf.data, graphs that are exported, training. All other folders are numpy and
# keras.ops alone, because the model also runs on Keras's JAX and PyTorch backends.
WITH_TENSORFLOW = {"data", "export", "inference", "prediction", "training"}
# Here a function may reach for TensorFlow, but the module itself imports without it.
WITH_LATE_TENSORFLOW = {"backend", "pretrained", "serve"}


def wrong_imports(source: str, package: str, forbidden: set[str], *, only_at_import: bool = False) -> list[str]:
    """The imports of `source` whose top-level name is in `forbidden`."""
    names = imported_names(source, package, only_at_import=only_at_import)
    return sorted({name for name in names if name.split(".")[0] in forbidden})


def modules_of(project_dir: pathlib.Path, package: str) -> list[pathlib.Path]:
    """The Python files of a package and of the packages inside it."""
    return sorted((project_dir / package).rglob("*.py"))


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Returns the nodes of one circle, each followed by one that it imports; empty if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return []


def floor_of(module: str) -> int:
    """The number of a module's floor in `maskformer_model`, counted from the ground."""
    parts = module.split(".")
    if len(parts) == 2 and parts[1] in GROUND_MODULES:
        return 0
    return next((number for number, folders in enumerate(FLOORS) if parts[1] in folders), len(FLOORS))


@pytest.fixture(scope="module")
def graph(project_dir):
    return ImportGraph.read(project_dir, (*PACKAGES, "benchmarks"))


def test_no_module_imports_itself_by_way_of_others(graph):
    assert circle(graph.imports) == []


def test_no_folder_imports_itself_by_way_of_others(graph):
    assert circle(graph.between_folders()) == []


def test_a_circle_of_imports_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) in (
        ["a", "b", "c", "a"],
        ["b", "c", "a", "b"],
        ["c", "a", "b", "c"],
    )


def test_no_import_goes_up_a_floor(graph):
    inside = {name for name in graph.imports if name.count(".") and name.startswith("maskformer_model.")}
    upwards = {
        f"{name} -> {other}"
        for name in inside
        for other in graph.imports[name] & inside
        if floor_of(other) > floor_of(name)
    }
    assert upwards == set()


def test_every_folder_of_the_model_has_a_floor_and_every_floor_its_folders(project_dir):
    folders = {path.parent.name for path in (project_dir / "maskformer_model").glob("*/__init__.py")}
    assert folders == set().union(*FLOORS)
    assert folders >= WITH_TENSORFLOW | WITH_LATE_TENSORFLOW


@pytest.mark.parametrize("package", (*PACKAGES, "benchmarks"))
def test_a_folder_holds_at_most_fifteen_python_files_and_says_what_belongs_there(project_dir, package):
    files = [path for path in modules_of(project_dir, package) if "experiments" not in path.parts]
    folders = {path.parent for path in files}
    number = {folder: sum(path.parent == folder and path.name != "__init__.py" for path in files) for folder in folders}
    assert {str(folder): count for folder, count in number.items() if count > 15} == {}
    assert [folder for folder in folders if not (folder / "__init__.py").read_text("utf-8").startswith('"""')] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_nothing_that_stands_above_it(project_dir, package):
    found = {
        str(path.relative_to(project_dir)): names
        for path in modules_of(project_dir, package)
        if (names := wrong_imports(path.read_text("utf-8"), package_of(project_dir, path), FORBIDDEN[package]))
    }
    assert found == {}


def test_the_model_imports_no_tensorflow_outside_its_boundary(project_dir):
    found = {}
    for path in modules_of(project_dir, "maskformer_model"):
        folder = path.relative_to(project_dir / "maskformer_model").parts[0]
        if folder in WITH_TENSORFLOW:
            continue
        late = folder in WITH_LATE_TENSORFLOW or folder.endswith(".py")  # Commands are loose.
        package = package_of(project_dir, path)
        if names := wrong_imports(path.read_text("utf-8"), package, {"tensorflow"}, only_at_import=late):
            found[str(path.relative_to(project_dir))] = names
    assert found == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_alone_imports_nothing_heavy(project_dir, package):
    heavy = {"apache_beam", "jax", "keras", "kfp", "numpy", "tensorflow", "tfx", "torch"}
    found = {
        str(path.relative_to(project_dir)): names
        for path in modules_of(project_dir, package)
        if path.name == "__init__.py"
        and (names := wrong_imports(path.read_text("utf-8"), package_of(project_dir, path), heavy, only_at_import=True))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import tfx", ["tfx"]),
        ("import tfx.v1 as tfx", ["tfx.v1"]),
        ("from tfx import v1", ["tfx.v1"]),
        ("def run():\n    from tfx.dsl import components", ["tfx.dsl.components"]),
        ("try:\n    import tfx\nexcept ImportError:\n    tfx = None", ["tfx"]),
        ("import importlib\nimportlib.import_module('tfx.v1')", ["tfx.v1"]),
        ("import tfx_bsl", []),
        ("from maskformer_model import tfx", []),
        ("from . import tfx", []),
        ("", []),
    ],
)
def test_a_wrong_import_is_found_in_every_form(source, found):
    assert wrong_imports(source, "maskformer_model", {"tfx"}) == found


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from . import losses", ["maskformer_model.modeling.losses"]),
        ("from .. import losses", ["maskformer_model.losses"]),
        ("from ..losses import dice_loss", ["maskformer_model.losses.dice_loss"]),
        ("from ...components import trainer", ["components.trainer"]),
    ],
)
def test_a_relative_import_is_followed_up_the_packages(source, names):
    assert list(imported_names(source, "maskformer_model.modeling")) == names


def test_an_import_inside_a_function_does_not_count_as_imported_with_the_module():
    source = "import keras\ndef compiled():\n    import tensorflow as tf\n"
    assert list(imported_names(source, "maskformer_model", only_at_import=True)) == ["keras"]
