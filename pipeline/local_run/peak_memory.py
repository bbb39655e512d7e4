"""The most memory that this process and its children held at once while something ran.

Sampled, so a peak shorter than the interval can be missed. Shared pages are counted once per process that maps them.
"""

from __future__ import annotations

import threading

import psutil

_INTERVAL_S = 0.25  # Looking takes 3 ms where 80 processes run: one percent of a core.
_BYTES_PER_MB = 1e6


class PeakMemory:
    """Watches from `__enter__` to `__exit__`.

    Attributes:
        megabytes: The highest sum of resident memory seen so far, in MB (1e6 bytes).
    """

    def __init__(self):
        self.megabytes = 0.0
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *exception_info: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        resident = self._process.memory_info().rss
        for child in self._process.children(recursive=True):
            try:
                resident += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue  # It ended between the listing and the look.
        self.megabytes = max(self.megabytes, resident / _BYTES_PER_MB)
