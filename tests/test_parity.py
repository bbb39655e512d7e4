"""Every golden model passes the comparison with the official code, and a difference does not."""

import json
import shutil

import numpy as np
import pytest

from tests import parity

LARGE = ("resnet50_fpn", "resnet50_transformer_fpn", "swin_fpn")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny_swin_fpn", "tiny_resnet50_transformer_fpn"])
def test_the_tiny_models_equal_the_official_ones(project_dir, capsys, name):
    code = parity.main([str(project_dir / "tests" / "golden" / name)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    for quantity in ("features.res5", "mask_features", "pred_masks", "aux_0.pred_logits", "assignments", "loss_dice_0"):
        assert f"\n{quantity} " in printed
    assert "FAIL" not in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_large_models_equal_the_official_ones_after_training_too(shared_dir, capsys, name):
    code = parity.main([str(shared_dir / "data" / "golden" / name)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "\nfinal weights " in printed


@pytest.mark.slow
def test_a_weight_that_is_a_little_off_fails_the_comparison(project_dir, tmp_path, capsys):
    folder = tmp_path / "golden"
    shutil.copytree(project_dir / "tests" / "golden" / "tiny_swin_fpn", folder)
    weights = dict(np.load(folder / "weights.npz"))
    weights["sem_seg_head.predictor.class_embed.bias"][0] += 0.05
    np.savez(folder / "weights.npz", **weights)
    golden = json.loads((folder / "golden.json").read_text())
    golden["solver"]["per_parameter_lr_and_weight_decay"]["backbone.norm0.weight"] = [6e-05, 0.01]
    golden["trajectory"] = golden["trajectory"][:1]
    (folder / "golden.json").write_text(json.dumps(golden))
    assert parity.main([str(folder)]) == 1
    verdicts = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "pass" in verdicts["mask_features"]
    assert "pass" in verdicts["pred_masks"]
    assert "FAIL" in verdicts["pred_logits"]
    assert "FAIL" in verdicts["loss_ce"]
    assert "FAIL  backbone.norm0.weight" in verdicts["learning"]


def test_a_difference_that_is_not_a_number_does_not_pass():
    assert parity.Row("masks", 1e-4, 1e-4).passed
    assert not parity.Row("masks", 2e-4, 1e-4).passed
    assert not parity.Row("masks", float("nan"), 1e-4).passed


def test_outputs_that_only_one_side_has_do_not_pass():
    zeros = np.zeros((1, 2, 2, 3), np.float32)
    outputs = {
        "normalized": zeros,
        "features": {"res2": zeros},
        "memory": {},
        "mask_features": zeros,
        "class_logits": zeros,
        "mask_logits": zeros,
        "aux_outputs": [],
    }
    expected = {name: np.zeros((1, 3, 2, 2)) for name in ("padded_images", "features.res2", "features.res3")}
    expected |= {"mask_features": np.ones((1, 3, 2, 2)), "pred_logits": zeros, "pred_masks": zeros[0]}
    verdicts = {row.quantity: row.passed for row in parity._output_rows(outputs, expected)}
    assert verdicts == {
        "padded_images": True,
        "features.res2": True,
        "features.res3": False,
        "mask_features": False,
        "pred_logits": True,
        "pred_masks": False,  # Of another shape.
    }


def assignment_case(segment_map, classes, official):
    """One image of 4x4 px, predicted at 2x2, whose official assignment is the same in both layers."""
    expected = {"pred_masks": np.zeros((1, 5, 2, 2))}
    for layer in range(2):
        matched = np.flatnonzero(np.array(official) >= 0)
        expected[f"match.layer_{layer}.image_0.target"] = matched
        expected[f"match.layer_{layer}.image_0.query"] = np.array(official)[matched]
    return expected, (None, None, np.array([segment_map]), np.array([classes]))


def test_assignments_are_counted_over_layers_and_images():
    quadrants = np.kron([[1, 2], [3, 0]], np.ones((2, 2), int))
    expected, batch = assignment_case(quadrants, [7, 7, 7, -1], [1, 3, 0, -1])
    right, wrong = np.array([[1, 3, 0, -1]]), np.array([[3, 1, 0, -1]])
    assert parity._assignment_row([right, right], expected, batch).difference == 0
    assert parity._assignment_row([right, wrong], expected, batch).difference == 2
    assert not parity._assignment_row([right], expected, batch).passed


def test_only_targets_of_one_class_and_one_small_mask_may_swap_their_queries():
    specks = np.zeros((4, 4), int)
    specks[1, 1], specks[3, 1], specks[1, 3] = 1, 2, 3  # All between the pixels that the matcher samples.
    expected, batch = assignment_case(specks, [7, 7, 8], [1, -1, 2])
    row = parity._assignment_row([np.array([[-1, 1, 2]])] * 2, expected, batch)
    assert row.passed
    assert "4 differ only among targets that cost the same" in row.note
    assert parity._assignment_row([np.array([[2, -1, 1]])] * 2, expected, batch).difference == 4
    assert parity._assignment_row([np.array([[0, -1, 2]])] * 2, expected, batch).difference == 2  # One in each layer.


def test_a_folder_that_lacks_a_file_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        parity.main([str(tmp_path)])
    assert "must hold golden.json, weights.npz, inputs.npz, outputs.npz" in capsys.readouterr().err


def test_masks_that_overlap_are_refused(tmp_path):
    masks = np.ones((2, 4, 4), bool)
    np.savez(tmp_path / "inputs.npz", image_0=np.zeros((4, 4, 3), np.uint8), masks_0=masks, labels_0=np.array([1, 2]))
    with pytest.raises(ValueError, match="must not overlap"):
        parity.read_batch(tmp_path)
