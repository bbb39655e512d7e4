"""Finds the message in an exception that the user needs, without the layers that it passed through."""

from __future__ import annotations

from maskformer_model.command_errors import sentence_of


def failure_reason(error: BaseException) -> str:
    """Returns what the chain's first error says, with the path and the next step where the error knows them.

    Args:
        error: The caught error; its causes are followed to the first one.
    """
    root = error
    while cause := root.__cause__ or (None if root.__suppress_context__ else root.__context__):
        root = cause
    return sentence_of(root)
