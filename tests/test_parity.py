"""Every golden model passes the comparison with the official numbers, and an error of any kind does not."""

import copy
import types

import numpy as np
import pytest

from tests.parity import __main__ as parity
from tests.parity import (
    assignment_rows,
    comparison,
    families,
    gradient_rows,
    maskformer_family,
    output_rows,
    rounding,
    rows,
)
from tests.parity.golden_folder import GoldenFolder, read_batch

pytestmark = pytest.mark.takes(seconds=150)
LARGE = ("resnet50_fpn", "resnet50_transformer_fpn", "swin_fpn")
TINY = ("tiny_swin_fpn", "tiny_resnet50_transformer_fpn")
MADE = ("formula_pre_norm_encoders", "formula_few_queries", "formula_no_targets")
SMALL_BIAS = "sem_seg_head.predictor.class_embed.bias"  # Six numbers.


@pytest.fixture(scope="module")
def folder(project_dir):
    """R101c's stem and dilations, padding to 32, one image without targets; made from formulas."""
    return GoldenFolder(project_dir / "tests" / "golden" / "formula_deeplab_multigrid")


@pytest.fixture(scope="module")
def measured(folder):
    return families.measure(folder)


@pytest.fixture
def ours(measured):
    """The measurement, to be spoilt."""
    return copy.deepcopy(measured)


def failures(ours, folder) -> dict[str, str]:
    """Quantities that do not pass, with their notes."""
    return {row.quantity: row.note for row in comparison.compare(ours, folder) if not row.passed}


def test_a_deeplab_stem_with_dilations_and_an_image_without_targets_equals_the_formulas(ours, folder):
    assert failures(ours, folder) == {}
    quantities = {row.quantity for row in comparison.compare(ours, folder)}
    assert {"features.res5", "aux_0.pred_masks", "assignments", "later loss_dice_0", "later grad_norm"} <= quantities
    assert {"gradients", "final weights", "final weights, each"} <= quantities


def test_a_small_bias_that_does_not_train_is_named(ours, folder):
    ours.final[SMALL_BIAS] = folder.initial[SMALL_BIAS]
    found = failures(ours, folder)
    assert found["parameters that did not move"] == SMALL_BIAS
    assert found["final weights, each"] == f"worst: {SMALL_BIAS}"


def test_a_swapped_pair_is_found(ours, folder):
    first, second = ours.queries[1][0][:2]
    ours.queries[1][0][:2] = second, first
    assert list(failures(ours, folder)) == ["assignments"]


def test_a_loss_term_that_is_a_hundredth_too_large_is_found_at_any_step(ours, folder):
    ours.steps[0]["loss_mask"] *= 1.01
    ours.steps[2]["loss_dice_0"] *= 1.01
    found = failures(ours, folder)
    assert list(found) == ["loss_mask", "later loss_dice_0"]
    assert found["later loss_dice_0"].startswith("worst at step 2")


def test_a_wrong_group_of_weight_decay_is_named(ours, folder):
    rate, decay = ours.groups[SMALL_BIAS]
    assert (rate, decay) == (1e-4, 1e-4)
    ours.groups[SMALL_BIAS] = (rate, 0.0)
    assert failures(ours, folder) == {"learning rates and decays": SMALL_BIAS}


def test_the_smallest_gradient_that_is_judged_counts_as_much_as_the_largest(ours, folder):
    judged = gradient_rows.judged_names(folder.gradient_norms, rows.FLOAT32)
    smallest = min(judged, key=folder.gradient_norms.get)
    ours.gradients[smallest] = ours.gradients[smallest] * 1.01
    found = failures(ours, folder)
    assert list(found) == ["gradients"]
    assert f"worst: {smallest}" in found["gradients"]


def test_gradients_that_are_rounding_error_are_named_and_must_stay_small(ours, folder):
    # The decoder's queries start as zeros: there is nothing that the first layer's values could be weighted by.
    name = "sem_seg_head.predictor.transformer.decoder.layers.0.self_attn.in_proj_weight"
    assert folder.gradient_norms[name] < 1e-12
    row = next(row for row in comparison.compare(ours, folder) if row.quantity == "gradients that are rounding error")
    assert row.passed and f"{name}[2]" in row.note
    ours.gradients[name] = ours.gradients[name] + folder.trajectory[0]["grad_norm"] * 1e-6
    assert list(failures(ours, folder)) == ["gradients that are rounding error"]


def test_errors_in_the_code_itself_are_found(project_dir, monkeypatch):
    from maskformer_model.losses import criterion
    from maskformer_model.training import optimizer

    update, terms_of = optimizer.AdamW.update_step, criterion.maskformer_losses

    def update_all_but_one(self, gradient, variable, learning_rate):
        if "class_head/bias" not in variable.name:
            update(self, gradient, variable, learning_rate)

    def with_more_dice(*args, **options):
        terms = terms_of(*args, **options)
        return {name: value * 1.01 if name == "loss_dice" else value for name, value in terms.items()}

    monkeypatch.setattr(optimizer.AdamW, "update_step", update_all_but_one)
    monkeypatch.setattr(optimizer, "WITHOUT_DECAY", ("beta", "query_embedding", "relative_position_bias_table"))
    monkeypatch.setattr(criterion, "maskformer_losses", with_more_dice)
    folder = GoldenFolder(project_dir / "tests" / "golden" / "formula_few_queries")
    found = failures(families.measure(folder), folder)
    assert found["parameters that did not move"] == SMALL_BIAS
    assert found["final weights, each"].endswith(f"worst: {SMALL_BIAS}")
    assert "norm" in found["learning rates and decays"]
    assert {"loss_dice", "total", "later loss_dice"} <= found.keys()
    assert not {"loss_ce", "loss_mask", "assignments", "pred_masks"} & found.keys()


@pytest.fixture
def runs(measured, monkeypatch):
    """Measurements by `nudge`, all right until they are spoilt; `asked` are the ones that were made."""
    spoilt = {nudge: copy.deepcopy(measured) for nudge in range(comparison.NUM_NUDGES + 1)}
    found = types.SimpleNamespace(asked=[], by_nudge=spoilt)

    def measure(folder, *, float64=False, nudge=0):
        found.asked.append(nudge)
        return found.by_nudge[nudge]

    monkeypatch.setattr(families, "measure", measure)
    return found


def test_a_trajectory_that_forks_is_run_again_from_neighbouring_weights_and_said(runs, folder):
    runs.by_nudge[0].steps[2]["loss_dice_0"] *= 1.01
    runs.by_nudge[1].final[SMALL_BIAS] = runs.by_nudge[1].final[SMALL_BIAS] + 1
    found = {row.quantity: row for row in comparison.compare_folder(folder)}
    assert runs.asked == [0, 1, 2]
    assert all(row.passed for row in found.values())
    note = found["forks of the trajectory"].note
    assert note.startswith("later loss_dice_0 was 1.0e-02 at first (worst at step 2") and note.endswith(
        "run 2 again passes"
    )


def test_a_trajectory_that_no_neighbouring_weights_bring_back_does_not_pass(runs, folder):
    for measurement in runs.by_nudge.values():
        measurement.steps[1]["loss_mask"] *= 1.002
    failed = [row.quantity for row in comparison.compare_folder(folder) if not row.passed]
    assert failed == ["later loss_mask"]
    assert runs.asked == list(range(comparison.NUM_NUDGES + 1))


def test_an_error_of_the_first_step_is_no_fork(runs, folder):
    runs.by_nudge[0].steps[0]["loss_mask"] *= 1.002
    runs.by_nudge[0].steps[1]["loss_mask"] *= 1.002
    failed = [row.quantity for row in comparison.compare_folder(folder) if not row.passed]
    assert failed == ["loss_mask", "later loss_mask"]
    assert runs.asked == [0]


def test_a_nudge_moves_every_weight_by_one_unit_in_its_last_place(folder):
    assert maskformer_family.nudged(folder.initial, 0) is folder.initial
    moved = maskformer_family.nudged(folder.initial, 1)
    assert moved.keys() == folder.initial.keys()
    for name, value in folder.initial.items():
        assert moved[name].dtype == np.float32
        np.testing.assert_array_max_ulp(moved[name], value, maxulp=1)
        assert (moved[name] != value).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TINY, *MADE])
def test_the_committed_models_equal_the_official_ones(project_dir, capsys, name):
    code = parity.main([str(project_dir / "tests" / "golden" / name)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    for quantity in ("features.res5", "mask_features", "pred_masks", "assignments", "loss_dice", "later loss_ce"):
        assert f"\n{quantity} " in printed


@pytest.mark.slow
def test_the_committed_mask2former_equals_the_official_one_on_its_points(project_dir, capsys):
    code = parity.main([str(project_dir / "tests" / "golden" / "m2f_resnet50_tiny")])
    printed = capsys.readouterr().out
    assert code == 0, printed
    quantities = ("multi_scale_features.2", "attention_mask.layer_2", "attention_rows_opened.layer_0", "assignments")
    for quantity in (*quantities, "cost.layer_3.image_1", "exact_match.layer_0.image_0.query", "exact loss_dice_2"):
        assert f"\n{quantity} " in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m2f_resnet50", "m2f_swin"])
def test_larger_mask2formers_equal_the_official_ones_after_training_too(shared_dir, capsys, name):
    code = parity.main([str(shared_dir / "data" / "golden" / name)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "\nfinal weights, each " in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eomt_tiny", "eomt_small"])
def test_eomts_equal_the_official_ones_on_their_points_and_random_masks(shared_dir, capsys, name):
    code = parity.main([str(shared_dir / "data" / "golden" / name)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    quantities = ("half.pred_masks", "plain.pred_logits", "eval_panoptic_segment_1", "assignments", "exact loss_dice")
    for quantity in (*quantities, "later attn_mask_probs.2", "later lr_backbone_norm", "final weights, each"):
        assert f"\n{quantity} " in printed


@pytest.mark.slow
def test_in_float64_our_numbers_are_those_of_the_formulas_to_ten_digits(project_dir, capsys):
    golden = project_dir / "tests" / "golden"
    names = ("formula_few_queries", "formula_deeplab_multigrid")
    code = parity.main(["--float64", *(str(golden / name) for name in names)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert " 1e-10  pass" in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_large_models_equal_the_official_ones_after_training_too(shared_dir, capsys, name):
    code = parity.main([str(shared_dir / "data" / "golden" / name)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "\nfinal weights, each " in printed


def test_a_difference_that_is_not_a_number_does_not_pass():
    assert rows.Row("masks", 1e-4, 1e-4).passed
    assert not rows.Row("masks", 2e-4, 1e-4).passed
    assert not rows.Row("masks", float("nan"), 1e-4).passed
    assert rows.worst_of({"a": 3.0, "b": float("nan"), "c": 1.0})[0] == "b"


def test_outputs_that_only_one_side_has_do_not_pass():
    zeros = np.zeros((1, 3, 2, 2))
    names = ("padded_images", "features.res2", "mask_features", "pred_logits", "pred_masks")
    ours = types.SimpleNamespace(outputs=dict.fromkeys(names, zeros), maps={}, given=frozenset({"drawn"}))
    expected = dict.fromkeys(("padded_images", "features.res2", "features.res3", "pred_logits"), zeros)
    expected |= {"mask_features": np.ones((1, 3, 2, 2)), "pred_masks": zeros[0], "drawn": zeros}
    found = output_rows.output_rows(ours, types.SimpleNamespace(outputs=expected), rows.FLOAT32)
    assert {row.quantity: row.passed for row in found} == {
        "padded_images": True,
        "features.res2": True,
        "features.res3": False,
        "mask_features": False,
        "pred_logits": True,
        "pred_masks": False,  # Of another shape.
    }


def test_a_label_map_may_differ_in_one_pixel_of_ten_thousand():
    labels = np.zeros((100, 100), np.int32)
    one_off, two_off = labels.copy(), labels.copy()
    one_off[3, 4] = two_off[:2, 0] = 7
    ours = types.SimpleNamespace(outputs={}, maps={"a": one_off, "b": two_off, "c": labels}, given=frozenset())
    folder = types.SimpleNamespace(outputs={"a": labels, "b": labels, "c": labels[:50]})
    found = {row.quantity: row.passed for row in output_rows.output_rows(ours, folder, rows.FLOAT32)}
    assert found == {"a": True, "b": False, "c": False}


def compare_queries(cost, official, found):
    """The rows of one image whose assignment is `official` and whose pairs cost `cost`, of magnitude 1."""
    official, cost = np.array(official), np.array(cost, np.float64)
    matched = np.flatnonzero(official >= 0)
    expected = {"match.layer_0.image_0.target": matched, "match.layer_0.image_0.query": official[matched]}
    ours = types.SimpleNamespace(queries=[np.array([found])])
    costs = {(0, 0): (cost, np.ones_like(cost))}
    return assignment_rows.assignment_rows(ours, types.SimpleNamespace(outputs=expected), costs)


def test_targets_that_differ_are_counted():
    cost = np.eye(4)[:, :3]
    assert compare_queries(cost, [1, 3, 0], [1, 3, 0])[0].difference == 0
    assert compare_queries(cost, [1, 3, 0], [0, 3, 1])[0].difference == 2
    assert compare_queries(cost, [1, 3, 0], [1, 3, -1])[0].difference == 1


def test_only_exchanges_that_cost_the_same_within_float32_are_excused_and_each_is_listed():
    # Targets 0 and 1 may change queries 0 and 1 for less than 8 units in the last place of the four costs, 2**-18;
    # targets 2 and 3 may not change queries 2 and 3.
    cost = np.array([[0, 2.0**-19, 9, 9], [0, 0, 9, 9], [9, 9, 0, 1e-4], [9, 9, 0, 0]])
    first, tie = compare_queries(cost, [0, 1, 2, 3], [1, 0, 2, 3])
    assert first.passed and "near ties: 1" in first.note
    assert tie.passed and tie.difference == 2.0**-19 and "targets 0, 1" in tie.note
    first, tie = compare_queries(cost, [0, 1, 2, 3], [1, 0, 3, 2])
    assert first.difference == 2
    assert "targets 0, 1" in tie.note


def test_a_target_that_is_left_out_for_another_of_the_same_cost_is_a_near_tie():
    assert compare_queries([[1.0, 1.0, 5.0]], [0, -1, -1], [-1, 0, -1])[0].passed
    assert compare_queries([[1.0, 1.0, 5.0]], [0, -1, -1], [-1, -1, 0])[0].difference == 2
    assert compare_queries([[1.0, 1.0, 5.0]], [0, -1, -1], [-1, -1, -1])[0].difference == 1


def test_another_number_of_layers_does_not_pass():
    costs = {(layer, 0): (np.zeros((1, 0)), np.zeros((1, 0))) for layer in range(2)}
    nothing = np.zeros(0, np.int64)
    expected = {f"match.layer_{layer}.image_0.{side}": nothing for layer in range(2) for side in ("query", "target")}
    ours = types.SimpleNamespace(queries=[np.zeros((1, 0), np.int64)])
    assert not assignment_rows.assignment_rows(ours, types.SimpleNamespace(outputs=expected), costs)[0].passed


def test_rounding_is_the_error_of_both_sides_against_float64(monkeypatch):
    def step(weight, bias, keys):
        arrays = {"weight": np.array(weight), "bias": np.array([bias]), "keys": np.array([keys])}
        return rounding._Step({"masks": arrays["weight"]}, arrays, {})

    # Norms are 5 and 12, together 13. Ours is off by 0.5 and 0.3, theirs by 0.05 and 0. Keys are rounding error alone.
    steps = {"float64": step([3.0, 4.0], 12.0, 0.0), "float32": step([3.3, 4.4], 12.3, 1e-9)}
    monkeypatch.setattr(rounding, "_our_step", lambda folder, float_type, nudge: steps[float_type])
    monkeypatch.setattr(rounding, "_their_step", lambda folder, nudge: step([3.03, 4.04], 12.0, 1e-9))
    found = rounding.measure(types.SimpleNamespace(), steps["float64"])
    assert found.names == ["weight", "bias"]
    np.testing.assert_allclose(found.ours, [0.1, 0.025])
    np.testing.assert_allclose(found.theirs, [0.01, 0], atol=1e-12)
    np.testing.assert_allclose(found.outputs["masks"], [0.1, 0.01])
    np.testing.assert_allclose(found.global_error, [np.hypot(0.5, 0.3) / 13, 0.05 / 13])
    np.testing.assert_allclose(found.norm_error, [np.hypot(5.5, 12.3) / 13 - 1, np.hypot(5.05, 12) / 13 - 1])


def test_rounding_of_a_swin_needs_the_official_gradients():
    folder = types.SimpleNamespace(gradients={}, settings={"backbone": "D2SwinTransformer"}, path="golden")
    with pytest.raises(ValueError, match="must hold its gradients in float32"):
        rounding._their_step(folder)


def test_a_folder_of_an_unknown_family_is_refused():
    folder = types.SimpleNamespace(settings={"network": {}}, path="golden")
    with pytest.raises(ValueError, match="must be of one of"):
        families.family_of(folder)


def test_a_folder_that_lacks_a_file_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        parity.main([str(tmp_path)])
    assert "must hold golden.json, weights.npz, inputs.npz, outputs.npz" in capsys.readouterr().err


def test_masks_that_overlap_are_refused(tmp_path):
    masks = np.ones((2, 4, 4), bool)
    np.savez(tmp_path / "inputs.npz", image_0=np.zeros((4, 4, 3), np.uint8), masks_0=masks, labels_0=np.array([1, 2]))
    with pytest.raises(ValueError, match="must not overlap"):
        read_batch(tmp_path)
