"""Writes counters, gauges and histograms in Prometheus's text form; what this server needs and no more."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
PHOTOS = (1, 2, 4, 8, 16, 32)


class Histogram:
    """A histogram: how many observations were at most as large as each bound."""

    def __init__(self, bounds: Sequence[float]):
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Adds one observation."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> list[str]:
        """Returns the histogram's lines."""
        total, lines = 0, []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self._sum:.6f}", f"{name}_count {total}"]


class Metrics:
    """The metrics of a server.

    Attributes:
        request_seconds: The times of predictions, from the last byte of the request to the answer.
        batch_photos: Photos per call of the model.
        batch_seconds: Seconds per call of the model.
        in_flight: Prediction requests that are not answered.
    """

    def __init__(self) -> None:
        self.request_seconds = Histogram(SECONDS)
        self.batch_photos = Histogram(PHOTOS)
        self.batch_seconds = Histogram(SECONDS)
        self.in_flight = 0
        self._requests: dict[int, int] = {}
        self._gauges: dict[str, tuple[str, str, Callable[[], float]]] = {}

    def count_request(self, status: int) -> None:
        """Counts one prediction request by the status of its answer."""
        self._requests[status] = self._requests.get(status, 0) + 1

    def watch(self, name: str, kind: str, meaning: str, read: Callable[[], float]) -> None:
        """Adds a value that is read when someone asks; `kind` is "gauge" or "counter"."""
        self._gauges[name] = (kind, meaning, read)

    def text(self) -> str:
        """Returns the answer of `/metrics`."""
        lines = _head("maskformer_requests_total", "counter", "Prediction requests by HTTP status.")
        lines += [f'maskformer_requests_total{{status="{s}"}} {n}' for s, n in sorted(self._requests.items())]
        histograms: Mapping[str, tuple[str, Histogram]] = {
            "maskformer_request_seconds": ("Seconds of a prediction request.", self.request_seconds),
            "maskformer_batch_seconds": ("Seconds of a call of the model.", self.batch_seconds),
            "maskformer_batch_photos": ("Photos in a call of the model.", self.batch_photos),
        }
        for name, (meaning, histogram) in histograms.items():
            lines += [*_head(name, "histogram", meaning), *histogram.lines(name)]
        for name, (kind, meaning, read) in self._gauges.items():
            lines += [*_head(name, kind, meaning), f"{name} {read():g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
