"""Finds in a failed task's log the error that ended it."""

from __future__ import annotations

import re

_TRACEBACK = "Traceback (most recent call last)"
# Beam reports a step's error as the text of its traceback, with the step's name at the end.
_BEAM_STEP = re.compile(r"\s*\[while running '.*?(-ptransform-\d+)?'\]")
# The start of a line that a logger wrote, by absl, logging or C++, and not of a message's next line.
_LOGGED = re.compile(
    r"[IWEF]\d{4} |(DEBUG|INFO|WARNING|ERROR|CRITICAL):|\d{4}-\d\d-\d\d |During handling of|The above ex"
)
_LONGEST_LINES = 8


def last_error(log: str) -> str:
    """Returns the error of a log's last traceback, with its type; without a traceback the last line.

    Args:
        log: What a process wrote until it failed; more may follow its traceback.
    """
    text = _BEAM_STEP.sub("", log)
    if _TRACEBACK not in text:
        return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "").rstrip(".")
    lines = text[text.rindex(_TRACEBACK) :].splitlines()[1:]
    start = next((index for index, line in enumerate(lines) if line[:1].strip()), len(lines))
    message = lines[start : start + 1]
    for line in lines[start + 1 : start + _LONGEST_LINES]:
        if not line.strip() or _LOGGED.match(line):
            break
        message.append(line)
    return "\n".join(message).strip().rstrip(".")
