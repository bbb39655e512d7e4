"""Every module of `maskformer_model` has tests: a file that mirrors it, or one that is named here."""

from __future__ import annotations

import pytest

# What only makes sense together is tested together. Constants and experiments (plain values) are read by every test.
TESTED_TOGETHER = {
    "checkpoints/architecture": "checkpoints/test_conversion",
    "checkpoints/efficientnet_weights": "backbones/test_efficientnet_lite",
    "checkpoints/initialize": "checkpoints/test_conversion",
    "checkpoints/maskformer_names": "checkpoints/test_conversion",
    "checkpoints/sources": "checkpoints/test_conversion",
    "config/data": "test_options",
    "config/experiment": "test_config",
    "config/model": "test_options",
    "config/rules": "test_config",
    "config/task": "test_options",
    "config/trainer": "test_options",
    "convert_checkpoint": "checkpoints/test_conversion",
    "model_assets": "test_export",
    "scene_drawing": "test_generated_scenes",
    "serve/__main__": "serve/test_server",
    "serve/app": "serve/test_server",
    "serve/model_process": "serve/test_server",
    "serve/served_model": "serve/test_server",
    "training_callbacks": "test_training",
    "training_checkpoints": "test_training",
}


@pytest.fixture(scope="module")
def modules(project_dir):
    """Modules without suffix, from the package's folder."""
    folder = project_dir / "maskformer_model"
    paths = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py"))
    return {path.as_posix() for path in paths if path.name != "__init__" and path.parts[0] != "experiments"}


def mirror(module: str) -> str:
    folder, _, name = module.rpartition("/")
    return f"{folder}/test_{name}" if folder else f"test_{name}"


def test_every_module_has_tests(project_dir, modules):
    tests = project_dir / "tests" / "maskformer_model"
    missing = [m for m in sorted(modules) if not (tests / f"{TESTED_TOGETHER.get(m, mirror(m))}.py").exists()]
    assert missing == []


def test_the_table_names_modules_that_are_there_and_have_no_file_of_their_own(project_dir, modules):
    assert set(TESTED_TOGETHER) <= modules
    tests = project_dir / "tests" / "maskformer_model"
    assert [module for module in TESTED_TOGETHER if (tests / f"{mirror(module)}.py").exists()] == []
