"""Rows of the losses: every term before the first update, and every term at every later step."""

from __future__ import annotations

from tests.parity.golden_folder import GoldenFolder
from tests.parity.measurement import Measurement
from tests.parity.rows import Bars, Row, relative, worst_of

GRAD_NORM = "grad_norm"


def first_step_rows(ours: Measurement, folder: GoldenFolder, bars: Bars) -> list[Row]:
    """Compares the terms, their total and the global gradient norm before the first update."""
    terms, expected = ours.steps[0], folder.trajectory[0]
    if terms.keys() != expected.keys():
        return [Row("loss terms", float("nan"), 0, f"{sorted(terms)} for {sorted(expected)}")]
    return [
        Row(name, relative(terms[name], value), bars.gradient if name == GRAD_NORM else bars.loss)
        for name, value in expected.items()
    ]


def exact_rows(ours: Measurement, folder: GoldenFolder, bars: Bars) -> list[Row]:
    """Compares the terms on every pixel centre, without any randomness, where the folder has them."""
    expected = folder.settings.get("exact_mask_losses", {})
    wanted = {name: value for name, value in expected.items() if name not in ("rule", GRAD_NORM)}
    if wanted.keys() != ours.exact_losses.keys():
        return [Row("exact loss terms", float("nan"), 0, f"{sorted(ours.exact_losses)} for {sorted(wanted)}")]
    return [Row(f"exact {name}", relative(ours.exact_losses[name], value), bars.loss) for name, value in wanted.items()]


def trajectory_rows(ours: Measurement, folder: GoldenFolder, bars: Bars) -> list[Row]:
    """Compares each term over all later steps; the row is of the worst step, the note has them all."""
    later = list(zip(ours.steps, folder.trajectory, strict=True))[1:]
    rows = []
    for name in folder.trajectory[0]:
        by_step = {
            str(step): relative(mine.get(name, float("nan")), official[name])
            for step, (mine, official) in enumerate(later, start=1)
        }
        if by_step:
            step, difference = worst_of(by_step)
            note = f"worst at step {step}; steps 1 on: " + " ".join(f"{value:.0e}" for value in by_step.values())
            rows.append(Row(f"later {name}", difference, bars.norm if name == GRAD_NORM else bars.later_loss, note))
    return rows
