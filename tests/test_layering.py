"""Imports point one way: pipeline -> components -> maskformer_model, and the model's mathematics knows no TensorFlow.

Sources are parsed and not imported, so that an import hidden in a function counts too and the test takes no time.
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

PACKAGES = ("maskformer_model", "components", "pipeline")

# What a package may not import, wherever in the file.
FORBIDDEN = {
    "maskformer_model": {"apache_beam", "benchmarks", "components", "kfp", "ml_metadata", "pipeline", "tests", "tfx"},
    "components": {"benchmarks", "pipeline", "tests"},
    "pipeline": {"benchmarks", "tests"},
}

# Modules of maskformer_model at TensorFlow's boundary: files, tf.data, training and export. All others are numpy and
# keras.ops alone, because the model also runs on Keras's JAX and PyTorch backends.
WITH_TENSORFLOW = {
    "augmentation",
    "examples",
    "export",
    "exported_model",
    "input_pipeline",
    "mask_keys",
    "photo_decoding",
    "photo_inference",
    "predict",
    "preprocessing",
    "segment_targets",
    "evaluation",
    "tensorboard",
    "serving_signatures",
    "train",
    "training",
    "training_callbacks",
    "training_checkpoints",
}
# Here a function may reach for TensorFlow, the module itself imports without it: XLA around the matcher and the mask
# loss, sums over replicas, TensorFlow's training step and its checkpoints, the server's process that holds a model, how
# a process rounds, and LiteRT's settings.
WITH_LATE_TENSORFLOW = {
    "checkpoints",
    "compilation",
    "distribution",
    "model_assets",
    "other_formats",
    "replicas",
    "serve",
    "training_model",
}


def imported_names(source: str, package: str, *, only_at_import: bool = False) -> Iterator[str]:
    """Yields the dotted name of each module that `source` imports.

    Args:
        source: Python source.
        package: Dotted name of the package that holds the source, which relative imports start from.
        only_at_import: Leaves out what only a call of a function imports.
    """
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if only_at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        pending.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join(above + ([node.module] if node.module else []))
            # `from a import b` may import the module a.b.
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def wrong_imports(source: str, package: str, forbidden: set[str], *, only_at_import: bool = False) -> list[str]:
    """The imports of `source` whose top-level name is in `forbidden`."""
    names = imported_names(source, package, only_at_import=only_at_import)
    return sorted({name for name in names if name.split(".")[0] in forbidden})


def modules_of(project_dir: pathlib.Path, package: str) -> list[pathlib.Path]:
    """The Python files of a package and of the packages inside it."""
    return sorted((project_dir / package).rglob("*.py"))


def package_of(project_dir: pathlib.Path, path: pathlib.Path) -> str:
    """The dotted name of the package that holds a file."""
    return ".".join(path.relative_to(project_dir).parent.parts)


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
        # A package inside is named by its first folder: serve/app.py is `serve`.
        module = path.relative_to(project_dir / "maskformer_model").with_suffix("").parts[0]
        if module in WITH_TENSORFLOW:
            continue
        late = module in WITH_LATE_TENSORFLOW
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
        ("from . import losses", ["maskformer_model.backbones.losses"]),
        ("from .. import losses", ["maskformer_model.losses.criterion"]),
        ("from ..losses import dice_loss", ["maskformer_model.losses.criterion.dice_loss"]),
        ("from ...components import trainer", ["components.training.trainer"]),
    ],
)
def test_a_relative_import_is_followed_up_the_packages(source, names):
    assert list(imported_names(source, "maskformer_model.backbones")) == names


def test_an_import_inside_a_function_does_not_count_as_imported_with_the_module():
    source = "import keras\ndef compiled():\n    import tensorflow as tf\n"
    assert list(imported_names(source, "maskformer_model", only_at_import=True)) == ["keras"]
