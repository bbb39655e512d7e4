"""All rows of a golden folder: the forward pass, the assignments, the losses, the gradients and the training."""

from __future__ import annotations

from tests.parity import assignment_rows, families, gradient_rows, loss_rows, output_rows, weight_rows
from tests.parity.golden_folder import GoldenFolder
from tests.parity.measurement import Measurement
from tests.parity.rows import FLOAT32, FLOAT64, Row

# How often a trajectory is run again that left the official one.
NUM_NUDGES = 8


def compare_folder(folder: GoldenFolder, *, float64: bool = False) -> list[Row]:
    """Measures our code on the folder and compares it, as one row per quantity.

    A trajectory forks where two choices are nearly equal: a pair of the matcher, a point's rank, a cell of the masked
    attention. Which way it goes is rounding, and differs from one processor to another. So a trajectory that leaves the
    official one, of a model whose first step passes, is run again from weights that are off by one unit in their last
    place. If one of these runs ends as the official one does, by the same bars, its rows are taken, and a further row
    says so.
    """
    rows = compare(families.measure(folder, float64=float64), folder, float64=float64)
    left = [row for row in rows if not row.passed]
    if float64 or not left or not all(_is_of_trajectory(row) for row in left):
        return rows
    for nudge in range(1, NUM_NUDGES + 1):
        again = compare(families.measure(folder, nudge=nudge), folder)
        trajectory = [row for row in again if _is_of_trajectory(row)]
        if all(row.passed for row in trajectory):
            worst = max(left, key=lambda row: row.difference / row.bar)
            note = f"{worst.quantity} was {worst.difference:.1e} at first ({worst.note}); run {nudge} again passes"
            forks = Row("forks of the trajectory", nudge, NUM_NUDGES, note)
            return [row for row in rows if not _is_of_trajectory(row)] + trajectory + [forks]
    return rows


def _is_of_trajectory(row: Row) -> bool:
    return row.quantity.startswith(("later ", "final weights"))


def compare(ours: Measurement, folder: GoldenFolder, *, float64: bool = False) -> list[Row]:
    """Compares a measurement with the folder's numbers."""
    bars = FLOAT64 if float64 and folder.is_float64 else FLOAT32
    return [
        output_rows.size_row(ours, folder),
        *output_rows.output_rows(ours, folder, bars),
        *assignment_rows.assignment_rows(ours, folder, families.family_of(folder).matching_costs(folder)),
        *loss_rows.first_step_rows(ours, folder, bars),
        *loss_rows.exact_rows(ours, folder, bars),
        *loss_rows.trajectory_rows(ours, folder, bars),
        *gradient_rows.gradient_rows(ours, folder, bars),
        weight_rows.group_row(ours, folder),
        weight_rows.standstill_row(ours, folder, bars),
        *weight_rows.change_rows(ours, folder, bars),
    ]
