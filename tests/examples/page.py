"""Runs the commands that a page of the documentation shows, one block after the other."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

from tests.conftest import PROJECT_DIR

_TIMEOUT_S = 600


class Page:
    """A page that is followed in a folder; `next_block` runs its next block of commands.

    Attributes:
        folder: Where the commands run.
    """

    def __init__(self, name: str, folder: pathlib.Path, **variables: str):
        """Takes the page's name in docs/examples, and the variables that its reader has set."""
        text = (PROJECT_DIR / "docs" / "examples" / name).read_text("utf-8")
        self.folder = folder
        fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
        # A block that names a language shows what was printed, or a file.
        self._blocks = [block for language, block in fenced if not language]
        programs = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
        self._environment = os.environ | {"PATH": programs, "PYTHONPATH": str(PROJECT_DIR)} | variables

    def next_block(self, begin: str) -> str:
        """Runs the next block, whose commands must begin with these words; returns what it printed."""
        block = self._blocks.pop(0)
        assert block.startswith(begin), block
        # Into a file: a pipe would stay open as long as a server that a failed block has left behind.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", block],
                cwd=self.folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait(_TIMEOUT_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            output.seek(0)
            told = output.read()
        print(told)
        assert status == 0, f"{block}\nended with {status}: {told[-3000:]}"
        return told

    def is_finished(self) -> bool:
        """Returns whether every block was run."""
        return not self._blocks
