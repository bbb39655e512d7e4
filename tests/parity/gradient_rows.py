"""Rows of the gradients: each judged by its own norm; those that are rounding error alone are named and stay small."""

from __future__ import annotations

import numpy as np

from tests.parity.golden_folder import GoldenFolder
from tests.parity.measurement import Measurement, split_parts
from tests.parity.rows import Bars, Row, worst_of


def gradient_rows(ours: Measurement, folder: GoldenFolder, bars: Bars) -> list[Row]:
    """Compares the gradient of every parameter at step 0, or its norm where the folder has no more."""
    computed, expected = ours.gradients, folder.gradients
    if not folder.gradient_norms or computed.keys() != folder.gradient_norms.keys():
        differing = sorted(computed.keys() ^ folder.gradient_norms.keys())
        return [Row("gradients", float("nan"), bars.gradient, f"only in one: {differing[:3]}")]
    if expected:
        computed, expected = (split_parts(arrays, ours.parts) for arrays in (computed, expected))
        norms = {name: float(np.linalg.norm(value)) for name, value in expected.items()}
        errors = {name: float(np.linalg.norm(computed[name] - expected[name])) for name in norms}
    else:
        norms = folder.gradient_norms
        errors = {name: abs(float(np.linalg.norm(computed[name])) - norms[name]) for name in norms}
    noise = bars.noise * float(np.linalg.norm(list(norms.values())))
    judged = judged_names(norms, bars)
    shares = {name: errors[name] / norms[name] for name in judged}
    worst, share = worst_of(shares) if shares else ("none", float("nan"))
    what = "" if expected else "norms only; "
    rows = [Row("gradients", share, bars.gradient, f"{what}{len(judged)} of {len(norms)} judged; worst: {worst}")]
    rest = {name: errors[name] / noise for name in norms if name not in judged}
    if rest:
        worst, share = worst_of(rest)
        note = f"of {bars.noise:.0e} of the global norm; not judged one by one: {', '.join(rest)}"
        rows.append(Row("gradients that are rounding error", share, 0.1, note))
    return rows


def judged_names(norms: dict[str, float], bars: Bars) -> set[str]:
    """Names the parameters whose gradient is more than rounding error."""
    noise = bars.noise * float(np.linalg.norm(list(norms.values())))
    return {name for name, norm in norms.items() if norm > noise}
