"""When the next pass is due: every so often, or by a cron expression.

`--every` counts on the monotonic clock, which nobody sets back. A cron expression means wall time: when that is set
back, the next time is found anew, so that a pass is neither waited for twice as long nor lost. The expression is read
by APScheduler's trigger, which knows time zones and summer time; its scheduler is not used, for there is one job.
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
    """Seconds of "90s", "15m", "1h" or "1d".

    Raises:
        ValueError: if it is none, or zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match or float(match[1]) == 0:
        raise ValueError(f"`--every` must be like 90s, 15m, 1h or 1d. Received: {text!r}")
    return float(match[1]) * _UNITS_S[match[2]]


def every(interval_s: float, stop: threading.Event, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Yields at once and then every so often; passes that took longer than the interval are not made up for.

    Args:
        interval_s: from one beginning to the next.
        stop: ends the waiting and the iteration.
        clock: in seconds; never goes back.
    """
    while not stop.is_set():
        due = clock() + interval_s
        yield
        stop.wait(max(0.0, due - clock()))


def by_cron(
    expression: str, stop: threading.Event, now: Callable[[], datetime.datetime] | None = None
) -> Iterator[None]:
    """Yields whenever the expression says so.

    Args:
        expression: five fields, in local time.
        stop: ends the waiting and the iteration.
        now: the wall clock, with a time zone; by default the machine's.

    Raises:
        ValueError: if the expression is none.
    """
    trigger = cron_trigger(expression)
    now = now or (lambda: datetime.datetime.now(trigger.timezone))
    last = None
    while not stop.is_set():
        before = now()
        due = trigger.get_next_fire_time(None, before)
        if due is not None and due == last:  # The pass was over within its second.
            due = trigger.get_next_fire_time(None, due + datetime.timedelta(seconds=1))
        if due is None:
            return  # Such as 30 February.
        while (current := now()) < due and not stop.is_set():
            if current < before:  # Set back: what was due then may be hours away now.
                due = trigger.get_next_fire_time(None, current)
            before = current
            stop.wait(min(_LONGEST_WAIT_S, max(0.0, (due - current).total_seconds())))
        last = due
        if not stop.is_set():
            yield


def cron_trigger(expression: str):
    """APScheduler's trigger of a cron expression.

    Raises:
        ValueError: if the expression is none.
    """
    from apscheduler.triggers.cron import CronTrigger

    try:
        return CronTrigger.from_crontab(expression)
    except ValueError as error:
        raise ValueError(
            f"`--cron` must be five fields such as '0 3 * * *'. {error} Received: {expression!r}"
        ) from error
