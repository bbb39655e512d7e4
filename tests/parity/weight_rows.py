"""Rows of the training: learning rates and decays, and every parameter after the last update."""

from __future__ import annotations

import numpy as np

from tests.parity.golden_folder import GoldenFolder
from tests.parity.gradient_rows import judged_names
from tests.parity.measurement import Measurement, split_parts
from tests.parity.rows import Bars, Row, relative, worst_of


def group_row(ours: Measurement, folder: GoldenFolder) -> Row:
    """Counts the parameters whose learning rate or weight decay is not the official one."""
    expected = folder.settings["solver"]["per_parameter_lr_and_weight_decay"]
    wrong = sorted(expected.keys() ^ ours.groups.keys())
    wrong += [
        name
        for name, pair in ours.groups.items()
        if name in expected and max(relative(*values) for values in zip(pair, expected[name], strict=True)) > 1e-6
    ]
    return Row("learning rates and decays", len(wrong), 0, ", ".join(wrong[:3]))


def standstill_row(ours: Measurement, folder: GoldenFolder, bars: Bars) -> Row:
    """Counts the parameters that have a gradient and did not move."""
    judged = judged_names(folder.gradient_norms, bars)
    still = [name for name in ours.final if name in judged and np.array_equal(ours.final[name], folder.initial[name])]
    return Row("parameters that did not move", len(still), 0, ", ".join(still[:3]))


def change_rows(ours: Measurement, folder: GoldenFolder, bars: Bars) -> list[Row]:
    """Compares the final weights: all together, and each by its own change over the trajectory.

    Adam moves a parameter however small its gradient is. Where that is rounding error alone, so is the move: such
    parameters are left out.
    """
    if not folder.changes or not folder.gradients:
        return _change_norm_rows(ours, folder, bars)
    names = [name for name in folder.changes if name in folder.gradients]
    mine = {name: ours.final[name].astype(np.float64) - folder.initial[name] for name in names}
    changes, official, gradients = (
        split_parts({name: arrays[name] for name in names}, ours.parts)
        for arrays in (mine, folder.changes, folder.gradients)
    )
    judged = judged_names({name: float(np.linalg.norm(value)) for name, value in gradients.items()}, bars)
    errors = {name: float(np.linalg.norm(changes[name] - official[name])) for name in judged}
    moves = {name: float(np.linalg.norm(official[name])) for name in judged}
    together = float(np.linalg.norm(list(errors.values())) / np.linalg.norm(list(moves.values())))
    note = f"change over {len(folder.trajectory)} steps, {len(judged)} of {len(gradients)} parameters"
    worst, share = worst_of({name: errors[name] / moves[name] if moves[name] else errors[name] for name in judged})
    return [
        Row("final weights", together, bars.change, note),
        Row("final weights, each", share, bars.change_of_one, f"worst: {worst}"),
    ]


def _change_norm_rows(ours: Measurement, folder: GoldenFolder, bars: Bars) -> list[Row]:
    """Compares the norms of the changes, where the folder holds these."""
    judged = judged_names(folder.gradient_norms, bars) & folder.change_norms.keys()
    if not judged:
        return []
    shares = {
        name: relative(float(np.linalg.norm(ours.final[name] - folder.initial[name])), folder.change_norms[name])
        for name in judged
    }
    worst, share = worst_of(shares)
    return [Row("final weights, each", share, bars.change_of_one, f"norms of {len(judged)} changes; worst: {worst}")]
