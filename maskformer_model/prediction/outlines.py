"""Turns masks into polygons that labelling tools can edit: along the pixels' borders, with few corners, holes kept.

A polygon of COCO, CVAT or Label Studio cannot have a hole. So a hole is joined to the polygon around it by a cut of no
width, there and back: filling the polygon leaves the hole open.
"""

from __future__ import annotations

import numpy as np

Ring = list[tuple[int, int]]  # Corners x, y in px; the pixel (0, 0) reaches from 0 to 1.

_TOLERANCE_PX = 0.8  # A diagonal staircase, whose corners are 0.71 px off the line, becomes a line.


def polygons_of(mask: np.ndarray, tolerance_px: float = _TOLERANCE_PX) -> list[Ring]:
    """Returns a polygon for each connected part of a mask (pixels that touch at a corner are not connected).

    Args:
        mask: `[height, width]` bool.
        tolerance_px: how far an outline may move so that it needs fewer corners; 0 keeps every step.
    """
    outer: list[Ring] = []
    holes: list[Ring] = []
    for ring in _rings(np.asarray(mask, bool)):
        (outer if _area(ring) > 0 else holes).append(_simplified(ring, tolerance_px))
    outer = [ring for ring in outer if len(ring) >= 3]
    for hole in sorted((ring for ring in holes if len(ring) >= 3), key=min):
        around = min((ring for ring in outer if _contains(ring, hole[0])), key=_size, default=None)
        if around is not None:
            outer[next(place for place, ring in enumerate(outer) if ring is around)] = _joined(around, hole)
    return outer


def _rings(mask: np.ndarray) -> list[Ring]:
    """Closed borders with the mask on their right: clockwise around parts, the other way around holes."""
    padded = np.pad(mask, 1).astype(np.int8)
    down = np.diff(padded, axis=0)[:, 1:-1]  # `[height + 1, width]`: 1 where a part begins below a line.
    right = np.diff(padded, axis=1)[1:-1]
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for y, x in np.argwhere(down == 1).tolist():
        steps.setdefault((x, y), []).append((x + 1, y))
    for y, x in np.argwhere(down == -1).tolist():
        steps.setdefault((x + 1, y), []).append((x, y))
    for y, x in np.argwhere(right == 1).tolist():
        steps.setdefault((x, y + 1), []).append((x, y))
    for y, x in np.argwhere(right == -1).tolist():
        steps.setdefault((x, y), []).append((x, y + 1))
    rings = []
    while steps:
        start = min(steps)
        ring, here, before = [start], start, None
        while True:
            following = steps[here]
            ahead = following[0] if len(following) == 1 else _right_turn(before, here, following)
            following.remove(ahead)
            if not following:
                del steps[here]
            before, here = here, ahead
            if here == start:
                break
            ring.append(here)
        rings.append(_without_straight(ring))
    return rings


def _right_turn(
    before: tuple[int, int] | None, here: tuple[int, int], following: list[tuple[int, int]]
) -> tuple[int, int]:
    """Where two parts touch at a corner, the way that stays at its own part."""
    if before is None:
        return following[0]
    dx, dy = here[0] - before[0], here[1] - before[1]
    turned = here[0] - dy, here[1] + dx
    return turned if turned in following else following[0]


def _without_straight(ring: Ring) -> Ring:
    count = len(ring)
    return [
        point
        for place, point in enumerate(ring)
        if (ring[place - 1][0] != ring[(place + 1) % count][0]) and (ring[place - 1][1] != ring[(place + 1) % count][1])
    ]


def _area(ring: Ring) -> float:
    """Twice the signed area: positive for clockwise rings, as y points down."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True))


def _size(ring: Ring) -> float:
    return abs(_area(ring))


def _simplified(ring: Ring, tolerance_px: float) -> Ring:
    """Leaves corners out as long as the outline stays within the tolerance (Ramer, Douglas and Peucker)."""
    if tolerance_px <= 0 or len(ring) <= 4:
        return ring
    far = max(range(len(ring)), key=lambda place: _distance2(ring[0], ring[place]))
    halves = ring[: far + 1], [*ring[far:], ring[0]]
    return [point for half in halves for point in _reduced(half, tolerance_px)[:-1]]


def _reduced(line: Ring, tolerance_px: float) -> Ring:
    keep = {0, len(line) - 1}
    pending = [(0, len(line) - 1)]
    points = np.array(line, np.float64)
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        direction = points[last] - points[first]
        offsets = points[first + 1 : last] - points[first]
        length = float(np.hypot(*direction))
        distances = np.abs(direction[0] * offsets[:, 1] - direction[1] * offsets[:, 0]) / length
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance_px:
            middle = first + 1 + farthest
            keep.add(middle)
            pending += [(first, middle), (middle, last)]
    return [line[place] for place in sorted(keep)]


def _distance2(a: tuple[int, int], b: tuple[int, int]) -> int:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def _contains(ring: Ring, point: tuple[int, int]) -> bool:
    """Whether a point is inside of a ring; counted from a little to its lower right, so that no corner is hit."""
    x, y = point[0] + 1e-3, point[1] + 1e-3
    inside = False
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


def _joined(ring: Ring, hole: Ring) -> Ring:
    """Returns the ring with a cut to the hole's nearest corner and back."""
    pairs = ((_distance2(a, b), place, other) for place, a in enumerate(ring) for other, b in enumerate(hole))
    _, place, other = min(pairs)
    return [*ring[: place + 1], *hole[other:], *hole[: other + 1], *ring[place:]]
