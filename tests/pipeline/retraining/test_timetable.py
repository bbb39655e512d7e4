"""Tests of `pipeline.retraining.timetable`, on clocks that the tests turn."""

import datetime
import itertools

import pytest

from pipeline.retraining.timetable import by_cron, cron_trigger, every, parse_every

HOUR_S = 3600.0
UTC = datetime.UTC


class Stop:
    """An event whose waiting turns the clock instead."""

    def __init__(self, turn):
        self.waits = []
        self._turn = turn

    def is_set(self):
        return False

    def wait(self, seconds):
        self.waits.append(seconds)
        self._turn(seconds)


class Clock:
    def __init__(self, start):
        self.now = start

    def __call__(self):
        return self.now

    def turn(self, seconds):
        self.now += seconds if isinstance(self.now, float) else datetime.timedelta(seconds=seconds)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("1.5h", 5400), ("1d", 86400)])
def test_an_interval_is_a_number_and_a_unit(text, seconds):
    assert parse_every(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "0h", "-1h", "1w"])
def test_what_is_no_interval_is_refused(text):
    with pytest.raises(ValueError, match="`--every` must be like"):
        parse_every(text)


def test_the_first_pass_is_now_and_a_long_one_is_followed_at_once_by_one_more_and_no_further():
    clock = Clock(100.0)
    stop = Stop(clock.turn)
    due = every(HOUR_S, stop, clock)
    next(due)
    clock.turn(600.0)
    next(due)
    assert clock.now == 100.0 + HOUR_S
    clock.turn(5 * HOUR_S)
    next(due)
    assert stop.waits == [3000.0, 0.0]


def times_of(start, expression, count, turn=None):
    clock = Clock(start)
    stop = Stop(turn and (lambda seconds: turn(clock, seconds)) or clock.turn)
    return [clock.now for _ in itertools.islice(by_cron(expression, stop, clock), count)]


def test_a_cron_expression_says_when():
    start = datetime.datetime(2026, 1, 31, 2, 30, tzinfo=UTC)
    found = times_of(start, "0 3 * * *", 2)
    trigger = cron_trigger("0 3 * * *")
    first = trigger.get_next_fire_time(None, start)
    assert found == [first, first + datetime.timedelta(days=1)]


def test_a_clock_that_is_set_back_does_not_make_the_next_pass_wait_twice():
    start = datetime.datetime(2026, 1, 31, 12, 0, 30, tzinfo=UTC)
    jumps = iter([datetime.timedelta(days=-10)])

    def turn(clock, seconds):
        clock.turn(seconds)
        clock.now += next(jumps, datetime.timedelta())

    # Every hour: ten days earlier the next full hour is as near as it was.
    [found] = times_of(start, "0 * * * *", 1, turn)
    assert found == datetime.datetime(2026, 1, 21, 13, 0, tzinfo=UTC)


@pytest.mark.parametrize("expression", ["", "* * *", "61 * * * *", "0 0 3 * * *"])
def test_what_is_no_cron_expression_is_refused(expression):
    with pytest.raises(ValueError, match="`--cron` must be five fields"):
        cron_trigger(expression)


def test_a_stop_ends_the_waiting():
    class Stopped(Stop):
        def is_set(self):
            return bool(self.waits)

    start = datetime.datetime(2026, 1, 31, 2, 30, tzinfo=UTC)
    assert list(by_cron("0 3 * * *", Stopped(lambda seconds: None), lambda: start)) == []
    assert len(list(every(HOUR_S, Stopped(lambda seconds: None), lambda: 0.0))) == 1
