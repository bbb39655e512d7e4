"""Waits until the next pass is due, at an interval or by a cron expression.

`--every` uses the monotonic clock, which is never set back. A cron expression means wall time: when that is set back,
the next time is computed again, so that no pass is lost or waits too long. APScheduler's trigger reads the expression,
because it knows time zones and summer time. Its scheduler is not used, because there is only one job.
"""

from __future__ import annotations

import datetime
import re
import threading
import time
from collections.abc import Callable, Iterator

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_WAIT_S = 30.0


def parse_every(text: str) -> float:
    """Returns the seconds of "90s", "15m", "1h" or "1d".

    Raises:
        ValueError: if it has another form, or is zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match or float(match[1]) == 0:
        raise ValueError(f"`--every` must be like 90s, 15m, 1h or 1d. Received: {text!r}")
    return float(match[1]) * _UNITS_S[match[2]]


def every(interval_s: float, stop: threading.Event, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Yields at once and then at the interval; does not make up for times that a long pass missed.

    Args:
        interval_s: The time from one start to the next, in seconds.
        stop: Ends the waiting and the iteration.
        clock: Returns seconds; never goes back.
    """
    while not stop.is_set():
        due = clock() + interval_s
        yield
        stop.wait(max(0.0, due - clock()))


def by_cron(
    expression: str, stop: threading.Event, now: Callable[[], datetime.datetime] | None = None
) -> Iterator[None]:
    """Yields at the times of a cron expression.

    Args:
        expression: A cron expression with five fields, in local time.
        stop: Ends the waiting and the iteration.
        now: Returns the wall-clock time, with a time zone; by default the machine's.

    Raises:
        ValueError: if the expression is not valid.
    """
    trigger = cron_trigger(expression)
    now = now or (lambda: datetime.datetime.now(trigger.timezone))
    last = None
    while not stop.is_set():
        before = now()
        due = trigger.get_next_fire_time(None, before)
        if due is not None and due == last:  # The pass ended within its second.
            due = trigger.get_next_fire_time(None, due + datetime.timedelta(seconds=1))
        if due is None:
            return  # Such as 30 February.
        while (current := now()) < due and not stop.is_set():
            if current < before:  # The clock was set back: the due time may be hours away now.
                due = trigger.get_next_fire_time(None, current)
            before = current
            stop.wait(min(_LONGEST_WAIT_S, max(0.0, (due - current).total_seconds())))
        last = due
        if not stop.is_set():
            yield


def cron_trigger(expression: str):
    """Returns APScheduler's trigger of a cron expression.

    Raises:
        ValueError: if the expression is not valid.
    """
    from apscheduler.triggers.cron import CronTrigger

    try:
        return CronTrigger.from_crontab(expression)
    except ValueError as error:
        raise ValueError(
            f"`--cron` must be five fields such as '0 3 * * *'. {error} Received: {expression!r}"
        ) from error
