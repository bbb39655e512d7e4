"""The argument parser of every command: it knows the name by which the command was started, and completes words.

A module can be started as `python -m maskformer_model.train` and as `maskformer train`; its help names the one that was
used. Words are completed by argcomplete (extra `completion`), which the shell starts with `_ARGCOMPLETE` set.
"""

from __future__ import annotations

import argparse
import contextlib
import contextvars
import os
from collections.abc import Iterator
from typing import Any

COMPLETION_VARIABLE = "_ARGCOMPLETE"  # argcomplete's own: which word of the line is the program's name, from 1.
_started_as: contextvars.ContextVar[str] = contextvars.ContextVar("started_as", default="")


@contextlib.contextmanager
def started_as(name: str) -> Iterator[None]:
    """Makes parsers that are built inside show this name, such as "maskformer train"."""
    token = _started_as.set(name)
    try:
        yield
    finally:
        _started_as.reset(token)


class CommandParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` for a command that may be a sub command of `maskformer`."""

    def __init__(self, *, prog: str, **settings: Any):
        """Takes what argparse takes; `prog` is the name if no other was used to start the command."""
        super().__init__(prog=_started_as.get() or prog, **settings)

    def parse_args(self, *args: Any, **settings: Any) -> Any:
        """Parses the command line, or completes its last word if a shell asks for that."""
        if COMPLETION_VARIABLE in os.environ:
            complete(self)
        return super().parse_args(*args, **settings)


def complete(parser: argparse.ArgumentParser) -> None:
    """Writes how the last word of the shell's line can go on, and ends the program."""
    import argcomplete

    argcomplete.autocomplete(parser, always_complete_options="long")
