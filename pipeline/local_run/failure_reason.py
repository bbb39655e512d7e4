"""Finds the message in an exception that the user needs, without the layers that it passed through."""

from __future__ import annotations

import pathlib
import traceback

from maskformer_model.command_errors import sentence_of

_PROJECT_DIR = pathlib.Path(__file__).resolve().parents[2]
_PACKAGES = tuple(_PROJECT_DIR / name for name in ("maskformer_model", "components", "pipeline"))


def failure_reason(error: BaseException) -> str:
    """Returns what went wrong first, in this project's words if it has any for it, with the path and the next step.

    Args:
        error: The caught error. Its causes are followed to the first one, or to the first that this project raised from
            another: that one says what its cause means, while other packages' layers only say that something failed.
    """
    found = error
    while True:
        if found.__cause__ is not None:
            if _is_raised_here(found):
                break
            found = found.__cause__
        elif found.__context__ is not None and not found.__suppress_context__:
            found = found.__context__
        else:
            break
    return sentence_of(found)


def _is_raised_here(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and any(pathlib.Path(frames[-1].filename).is_relative_to(folder) for folder in _PACKAGES)
