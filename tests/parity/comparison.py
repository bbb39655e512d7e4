"""All rows of a golden folder: the forward pass, the assignments, the losses, the gradients and the training."""

from __future__ import annotations

from tests.parity import assignment_rows, families, gradient_rows, loss_rows, output_rows, weight_rows
from tests.parity.golden_folder import GoldenFolder
from tests.parity.measurement import Measurement
from tests.parity.rows import FLOAT32, FLOAT64, Row


def compare_folder(folder: GoldenFolder, *, float64: bool = False) -> list[Row]:
    """Measures our code on the folder and compares it, as one row per quantity."""
    return compare(families.measure(folder, float64=float64), folder, float64=float64)


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
