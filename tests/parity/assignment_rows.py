"""Rows of the matcher: another assignment passes only as a near tie, judged by the cost in float64 and listed."""

from __future__ import annotations

import numpy as np

from tests.parity.golden_folder import GoldenFolder
from tests.parity.measurement import Measurement
from tests.parity.rows import Row

# A sum of float32 numbers is off by some units in the last place (2**-23) of what was added up: eight of them here.
RESOLUTION = 2.0**-20

# Cost of every pair and sum of the magnitudes of its terms, both [queries, targets] in float64, by (layer, image).
Costs = dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]


def assignment_rows(ours: Measurement, folder: GoldenFolder, costs: Costs) -> list[Row]:
    """Compares the query of every target in all layers and images.

    Two assignments that differ are taken apart into exchanges that share no query and no target. One counts as a near
    tie where the two sides of it cost the same in float64, within float32's resolution of the costs that are exchanged;
    it is listed, as a row that passes. All others count as differences, one per target.
    """
    differing = total = 0
    listed = []
    for (layer, image), (cost, magnitude) in sorted(costs.items()):
        if layer >= len(ours.queries):
            continue
        wanted = _official_queries(folder, layer, image, cost.shape[1])
        found = np.asarray(ours.queries[layer][image])[: cost.shape[1]]
        total += int((wanted >= 0).sum())
        for targets in exchanges(found, wanted):
            excess = _cost_of(cost, found, targets) - _cost_of(cost, wanted, targets)
            scale = _cost_of(magnitude, found, targets) + _cost_of(magnitude, wanted, targets)
            if _num_matched(found, targets) == _num_matched(wanted, targets) and abs(excess) <= RESOLUTION * scale:
                name = f"layer {layer}, image {image}, targets {', '.join(map(str, targets))}"
                listed.append(Row("near tie", abs(excess), RESOLUTION * scale, f"{name}: cost in float64"))
            else:
                differing += sum(int(found[target] != wanted[target]) for target in targets)
    complete = len(ours.queries) == 1 + max((layer for layer, _ in costs), default=-1)
    note = f"{total} pairs in {len(ours.queries)} layers" + (f"; near ties: {len(listed)}" if listed else "")
    return [Row("assignments", differing if complete else float("nan"), 0, note), *listed]


def exchanges(found: np.ndarray, wanted: np.ndarray) -> list[list[int]]:
    """Groups the targets that two assignments treat differently, such that no two groups share a query."""
    groups: list[tuple[set[int], set[int]]] = []
    for target in map(int, np.flatnonzero(found != wanted)):
        targets, queries = {target}, {int(found[target]), int(wanted[target])} - {-1}
        apart = []
        for other_targets, other_queries in groups:
            if (
                queries & other_queries
                or -1 in (found[target], wanted[target])
                and _is_open(other_targets, found, wanted)
            ):
                targets, queries = targets | other_targets, queries | other_queries
            else:
                apart.append((other_targets, other_queries))
        groups = [*apart, (targets, queries)]
    return [sorted(targets) for targets, _ in groups]


def _is_open(targets: set[int], found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether a target of the group is left out by one side: what one gives up, another takes."""
    return any(-1 in (found[target], wanted[target]) for target in targets)


def _official_queries(folder: GoldenFolder, layer: int, image: int, num_targets: int) -> np.ndarray:
    prefix = f"match.layer_{layer}.image_{image}"
    queries = np.full(num_targets, -1)
    queries[folder.outputs[f"{prefix}.target"]] = folder.outputs[f"{prefix}.query"]
    return queries


def _cost_of(cost: np.ndarray, queries: np.ndarray, targets: list[int]) -> float:
    return float(sum(cost[queries[target], target] for target in targets if queries[target] >= 0))


def _num_matched(queries: np.ndarray, targets: list[int]) -> int:
    return sum(int(queries[target] >= 0) for target in targets)
