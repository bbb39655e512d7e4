"""An attack must not fill a disk by being noted."""

import logging

from maskformer_model.serve.guards.log_limit import LogLimit


def test_lines_of_a_kind_are_limited_each_minute_and_what_was_held_back_is_counted():
    now, lines = [0.0], []
    logger = logging.Logger("server")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    handler.addFilter(LogLimit(most=2, clock=lambda: now[0]))
    logger.addHandler(handler)
    for number in range(5):
        logger.error("Connection %s failed", number)  # One format: one kind.
        logger.error(f"socket.accept() out of system resource\nsocket: fd={number}")
    logger.error("Something else")
    now[0] = 60.0
    logger.error("Connection %s failed", 9)
    assert lines == [
        "Connection 0 failed",
        "socket.accept() out of system resource\nsocket: fd=0",
        "Connection 1 failed",
        "socket.accept() out of system resource\nsocket: fd=1",
        "Something else",
        "(and 3 more lines of this kind) Connection 9 failed",
    ]
