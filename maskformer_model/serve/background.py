"""Runs a server's background work: a failure is logged and tried again, and health says so."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

_SHORTEST_RETRY_S, _LONGEST_WAIT_S = 0.05, 30.0


class BackgroundTask:
    """Calls a step again and again. Nothing that the step raises ends it.

    Args:
        name: What the step does, for the log and for health: "looking for versions".
        step: Awaited, then again after `every_s`.
        every_s: Seconds between two calls; doubled after every failure in a row, up to half a minute.
    """

    def __init__(self, name: str, step: Callable[[], Awaitable[None]], every_s: float):
        self.name = name
        self._step = step
        self._every_s = every_s
        self._failures = 0
        self._last_done_s = time.monotonic()
        self._error = ""

    async def run(self) -> None:
        """Works until it is cancelled."""
        while True:
            try:
                await self._step()
            except Exception as error:  # Whatever it is, the next call may succeed, and health tells of it.
                self.note_failure(error)
                logging.exception("%s failed", self.name)
            else:
                self._failures, self._error = 0, ""
                self._last_done_s = time.monotonic()
            await asyncio.sleep(self.wait_s())

    def note_failure(self, error: Exception) -> None:
        """Counts a failure of the step."""
        self._failures += 1
        self._error = f"{type(error).__name__}: {error}"

    def wait_s(self) -> float:
        """Returns the seconds until the next call."""
        if not self._failures:
            return self._every_s
        return min(
            max(self._every_s, _SHORTEST_RETRY_S) * 2 ** min(self._failures, 16), max(_LONGEST_WAIT_S, self._every_s)
        )

    def behind(self) -> str:
        """Says since when the step fails and why; empty while it succeeds."""
        if not self._failures:
            return ""
        since_s = time.monotonic() - self._last_done_s
        return f"{self.name} has failed for {since_s:.0f} s, {self._failures} times in a row: {self._error}"
