"""Rows of the forward pass: the number of parameters and every tensor that the golden folder names."""

from __future__ import annotations

from tests.parity.golden_folder import GoldenFolder
from tests.parity.measurement import Measurement
from tests.parity.rows import Bars, Row, largest_difference

MAP_SHARE = 1e-4  # Of the pixels of a label map: a tie may fall to either side.


def size_row(ours: Measurement, folder: GoldenFolder) -> Row:
    """Compares the number of trained parameters."""
    difference = abs(ours.num_parameters - folder.settings["parameters"])
    return Row("parameters", difference, 0, f"{ours.num_parameters} trained")


def output_rows(ours: Measurement, folder: GoldenFolder, bars: Bars) -> list[Row]:
    """Compares every tensor; one that only one side has does not pass."""
    expected = {
        name: value
        for name, value in folder.outputs.items()
        if not name.startswith("match.") and name not in ours.given
    }
    lonely = sorted(expected.keys() ^ (ours.outputs.keys() | ours.maps.keys()))
    rows = [Row(name, float("nan"), bars.output, "only in one of the two") for name in lonely]
    rows += [_map_row(name, value, expected[name]) for name, value in ours.maps.items() if name in expected]
    return rows + [_row(name, ours.outputs[name], expected[name], bars) for name in ours.outputs if name in expected]


def _map_row(name: str, value, expected) -> Row:
    """Counts the pixels that differ, as a share."""
    share = float((value != expected).mean()) if value.shape == expected.shape else float("nan")
    return Row(name, share, MAP_SHARE, "share of pixels that differ")


def _row(name: str, value, expected, bars: Bars) -> Row:
    largest = max(float(abs(expected).max()), 1e-30)
    return Row(name, largest_difference(value, expected) / largest, bars.output)
