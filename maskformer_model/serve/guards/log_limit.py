"""Limits the lines of one kind in the log, so that an attack does not fill a disk."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

_PERIOD_S = 60.0
_MAX_KINDS = 1000
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")


class LogLimit(logging.Filter):
    """A filter that lets the first few lines of a kind through in each minute, and says later how many it held back.

    Lines are of a kind if they come from the same logger and have the same first line but for numbers.

    Args:
        most: How many lines of a kind a minute may have.
        clock: Seconds.
    """

    def __init__(self, most: int = 10, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._most = most
        self._clock = clock
        self._kinds: dict[tuple[str, int, str], tuple[float, int]] = {}  # Begin of the minute, lines since then.

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether a line is written."""
        first_line = _VARYING.sub("#", str(record.msg).partition("\n")[0][:200])
        kind = record.name, record.levelno, first_line
        now_s = self._clock()
        start_s, count = self._kinds.get(kind, (now_s, 0))
        if now_s - start_s >= _PERIOD_S:
            if count > self._most:
                record.msg = f"(and {count - self._most} more lines of this kind) {record.msg}"
            start_s, count = now_s, 0
        if len(self._kinds) >= _MAX_KINDS and kind not in self._kinds:
            self._kinds.clear()
        self._kinds[kind] = start_s, count + 1
        return count < self._most
