"""Imports TensorFlow without the lines that its libraries print at every start and that no setting turns off.

They say that there is no GPU, and how oneDNN rounds, before every message of a command. Only these lines are left out:
whatever else is printed meanwhile, such as an error of a driver, appears as it was.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile

_GREETINGS = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    rb"|[IW]\d{4} .*"  # Information and warnings, which TF_CPP_MIN_LOG_LEVEL=2 hides once it is read.
    rb"|To enable the following instructions: .*rebuild TensorFlow with the appropriate compiler flags\."
    rb"|20\d\d-\d\d-\d\d .*: [IW] .*"
)
_NO_GPU = re.compile(rb"E\d{4} .*failed call to cuInit.*")
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg")


def import_tensorflow() -> None:
    """Imports TensorFlow and looks for devices, which prints; does nothing if it is imported already."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            captured.seek(0)
            os.write(2, without_greetings(captured.read(), has_gpu=any(map(os.path.exists, _GPU_FILES))))


def without_greetings(text: bytes, has_gpu: bool) -> bytes:
    """Returns the text without TensorFlow's greetings; with a GPU, that CUDA cannot be used is none of them."""
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not _GREETINGS.fullmatch(line.rstrip(b"\r\n"))]
    return b"".join(line for line in kept if has_gpu or not _NO_GPU.fullmatch(line.rstrip(b"\r\n")))
