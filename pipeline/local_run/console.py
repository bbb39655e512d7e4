"""Prints one line per node on the terminal and sends everything else to a log file.

TFX, Beam, absl and TensorFlow log hundreds of lines per node; they go to `<root>/logs/`, and only the progress bar and
the lines below stay visible.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import TextIO

from pipeline.local_run.run_record import FAILED, NodeRecord

_LOG_FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"


def quiet_environment() -> None:
    """Sets the environment so that libraries imported later log little and use no network."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # Without this, Google's clients look for a cloud machine's account first, and wait if there is none.
    os.environ.setdefault("NO_GCE_CHECK", "true")


@contextlib.contextmanager
def log_to_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Sends all of Python's logging and warnings to a file instead of the terminal, until the end of the block.

    Args:
        path: The log file; its folder is created.
    """
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_LOG_FORMAT))
    root = logging.getLogger()
    level, handlers = root.level, root.handlers
    root.setLevel(logging.INFO)
    root.handlers = [handler]
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        root.handlers = handlers
        handler.close()


def silence_absl() -> None:
    """Stops absl, which TFX logs with, from also writing to the terminal; call it after importing TFX."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.INFO)
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if handler is not absl_logging.get_absl_handler()]


@contextlib.contextmanager
def native_stderr_to(path: str | os.PathLike[str]) -> Iterator[None]:
    """Appends C++ code's stderr to a file; Python's stderr (progress bars) stays on the terminal.

    TensorFlow's libraries print lines at the start that none of their settings turn off.
    """
    sys.stderr.flush()
    terminal, python_stderr = os.dup(2), sys.stderr
    with open(path, "ab") as log:
        os.dup2(log.fileno(), 2)
    sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1)
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = python_stderr
        os.dup2(terminal, 2)
        os.close(terminal)


class ConsoleProgress:
    """Prints one line per node when it ends, and keeps the records.

    Attributes:
        records: The records of the nodes that ended, in order.
    """

    def __init__(self, stream: TextIO | None = None):
        self.records: list[NodeRecord] = []
        self._stream = stream or sys.stdout
        self._position = ""

    def node_begins(self, node_id: str, position: int, num_nodes: int) -> None:
        """Remembers the position, and on a terminal prints which node is running."""
        self._position = f"[{position:2d}/{num_nodes}]"
        if self._stream.isatty():
            self._print(f"{self._position} {node_id} ...", end="\r")

    def node_ends(self, record: NodeRecord) -> None:
        """Prints name, time, memory and state."""
        self.records.append(record)
        state = record.state.upper() if record.state == FAILED else record.state
        self._print(
            f"{self._position} {record.node_id:<22} {record.seconds:8.1f} s {record.peak_memory_mb:7.0f} MB  {state}"
        )

    def _print(self, line: str, end: str = "\n") -> None:
        print(line, end=end, file=self._stream, flush=True)
