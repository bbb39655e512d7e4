"""Finds the message in an exception that the user needs, without the layers that it passed through."""

from __future__ import annotations

import re

# Beam reports a step's error as the text of its traceback, with the step's name at the end.
_BEAM_STEP = re.compile(r"\s*\[while running '(?P<step>.*?)(-ptransform-\d+)?'\]")
_TRACEBACK = "Traceback (most recent call last)"
_NAME_BEFORE_MESSAGE = re.compile(r"^(?:\w+\.)*\w+: ")


def failure_reason(error: BaseException) -> str:
    """Returns the message of the chain's first error, as a sentence.

    Args:
        error: The caught error; its causes are followed to the first one.
    """
    root = error
    while cause := root.__cause__ or (None if root.__suppress_context__ else root.__context__):
        root = cause
    message = _BEAM_STEP.sub("", str(root)).strip()
    if _TRACEBACK in message:
        message = _message_of_traceback(message)
    if isinstance(root, KeyError) and root.args and isinstance(root.args[0], str):
        message = root.args[0]
    return message or type(root).__name__


def _message_of_traceback(text: str) -> str:
    lines = text[text.rindex(_TRACEBACK) :].splitlines()[1:]
    start = next((index for index, line in enumerate(lines) if not line.startswith(" ")), len(lines) - 1)
    return _NAME_BEFORE_MESSAGE.sub("", "\n".join(lines[start:]).strip())
