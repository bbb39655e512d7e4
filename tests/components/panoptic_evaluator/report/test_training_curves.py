"""Training curves: which quantities become charts, and where their points and marks lie."""

from __future__ import annotations

import pytest

from components.panoptic_evaluator.report.training_curves import round_marks, thin_out, training_charts


def _xy(points: str) -> list[tuple[float, float]]:
    return [tuple(float(number) for number in pair.split(",")) for pair in points.split()]


def test_a_line_spans_the_plot_from_first_to_last_step_and_from_top_to_bottom():
    (chart,) = training_charts([{"step": 0, "loss": 10.0}, {"step": 50, "loss": 5.0}, {"step": 100, "loss": 0.0}])
    left, top, right, bottom = chart.plot_area
    assert _xy(chart.lines[0].points) == [(left, top), ((left + right) / 2, (top + bottom) / 2), (right, bottom)]


def test_the_total_loss_comes_first_then_its_parts_and_copies_of_deep_supervision_are_left_out():
    history = [
        {"step": step, "epoch": 0, "seconds": 1.0, "learning_rate": 0.1, "loss_ce": 1.0, "loss_ce_0": 1.0, "loss": 2.0}
        for step in (1, 2)
    ]
    assert [chart.title for chart in training_charts(history)] == ["loss", "loss_ce", "learning_rate"]


def test_a_validation_value_shares_the_chart_of_its_quantity():
    history = [{"step": 1, "loss": 3.0, "val_loss": 4.0}, {"step": 2, "loss": 1.0}, {"step": 3, "val_loss": 2.0}]
    (chart,) = training_charts(history)
    assert [(line.name, line.is_validation) for line in chart.lines] == [("loss", False), ("val_loss", True)]
    assert chart.words == "loss from 3 to 1; val_loss from 4 to 2"


def test_scores_are_of_validation_and_not_of_training():
    history = [{"step": step, "loss": 1.0 / step, "pq": 0.1 * step, "mean_iou": 0.2 * step} for step in (1, 2)]
    lines = {line.name: line.is_validation for chart in training_charts(history) for line in chart.lines}
    assert lines == {"loss": False, "mean_iou": True, "pq": True}


def test_values_that_are_not_finite_numbers_are_left_out():
    history = [
        {"step": 1, "loss": 3.0, "note": "start"},
        {"step": 2, "loss": float("nan"), "note": "bad"},
        {"step": 3, "loss": 1.0},
    ]
    (chart,) = training_charts(history)
    assert len(_xy(chart.lines[0].points)) == 2


@pytest.mark.parametrize("history", [[], [{"step": 1, "loss": 2.0}], [{"loss": 2.0}, {"loss": 1.0}]])
def test_without_two_values_over_steps_there_is_no_chart(history):
    assert training_charts(history) == []


def test_a_constant_is_a_level_line_inside_the_plot():
    (chart,) = training_charts([{"step": 1, "loss": 0.0}, {"step": 2, "loss": 0.0}])
    (level,) = {y for _, y in _xy(chart.lines[0].points)}
    assert level == (chart.plot_area[1] + chart.plot_area[3]) / 2


def test_marks_are_round_numbers_that_cover_the_range():
    assert round_marks(0.0, 10.0, 3) == [0, 5, 10]
    assert round_marks(1.3, 7.9, 3) == [0, 5, 10]
    assert round_marks(0.0, 2500.0, 4) == [0, 1000, 2000, 3000]
    assert round_marks(2.0, 2.0, 3)[0] <= 2.0 <= round_marks(2.0, 2.0, 3)[-1]


def test_a_long_series_is_thinned_to_means_between_its_first_and_last_point():
    values = [(float(step), float(step)) for step in range(1002)]
    thin = thin_out(values, 12)
    assert len(thin) == 12
    assert thin[0] == (0.0, 0.0)
    assert thin[-1] == (1001.0, 1001.0)
    assert thin[1] == (50.5, 50.5)  # The mean of 1..100.
    assert thin_out(values[:12], 12) == values[:12]
