"""The formulas in PyTorch reproduce the official code's numbers, and the committed folders are what they make."""

import json

import numpy as np
import pytest

from tests.reference.recipes import LARGE_RECIPES, RECIPES

torch = pytest.importorskip("torch", reason="the extra `parity` brings torch")


def test_the_formulas_reproduce_what_the_official_code_computed(project_dir):
    from tests.reference.training import train

    path = project_dir / "tests" / "golden" / "tiny_resnet50_transformer_fpn"
    settings = json.loads((path / "golden.json").read_text())
    weights, inputs, expected = (dict(np.load(path / f"{name}.npz")) for name in ("weights", "inputs", "outputs"))
    found = train(settings, weights, inputs, len(settings["trajectory"]), torch.float64)
    for name, value in found.outputs.items():
        assert np.abs(value - expected[name]).max() <= 3e-6 * np.abs(expected[name]).max(), name
    for layer, match in enumerate(found.matches):
        for image, (query, _) in enumerate(match):
            np.testing.assert_array_equal(query, expected[f"match.layer_{layer}.image_{image}.query"])
    for ours, official in zip(found.steps, settings["trajectory"], strict=True):
        assert ours == pytest.approx(official, rel=1e-6)
    assert found.groups == settings["solver"]["per_parameter_lr_and_weight_decay"]


def test_a_committed_folder_is_what_its_recipe_makes(project_dir, tmp_path):
    from tests.reference.make_golden import write_folder

    name = "formula_few_queries"
    write_folder(RECIPES[name], tmp_path)
    committed = project_dir / "tests" / "golden" / name
    for file in ("weights", "inputs", "outputs"):
        ours, theirs = np.load(tmp_path / f"{file}.npz"), np.load(committed / f"{file}.npz")
        assert ours.files == theirs.files
        for key in ours.files:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-5, atol=1e-6)
    assert json.loads((tmp_path / "golden.json").read_text())["trajectory"][0] == pytest.approx(
        json.loads((committed / "golden.json").read_text())["trajectory"][0], rel=1e-9
    )


def test_the_large_models_have_images_without_targets_and_maps_of_many_pixels():
    inputs = {name: recipe.inputs() for name, recipe in LARGE_RECIPES.items()}
    counts = {name: [len(arrays["labels_0"]), len(arrays["labels_1"])] for name, arrays in inputs.items()}
    assert counts == {"large_one_without_targets": [12, 0], "large_no_targets": [0, 0]}
    for arrays in inputs.values():
        assert arrays["masks_1"].shape == (0, 448, 600) and arrays["image_0"].shape == (480, 640, 3)
