"""TensorFlow's greetings at its start are left out; everything else that is printed meanwhile is kept."""

import os
import subprocess
import sys

from maskformer_model.backend.quiet_start import without_greetings

GREETINGS = b"""\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795917286.415573    8000 port.cc:153] oneDNN custom operations are on.
I0000 00:00:1795917286.415920    8000 cudart_stub.cc:31] Could not find cuda drivers on your machine.
"""
NO_GPU = b"E0000 00:00:1795917299.404399    8000 cuda_platform.cc:52] failed call to cuInit: INTERNAL: (303)\n"
OTHER = b"E0000 00:00:1795917299.404399    8000 gpu.cc:1] the driver is too old\nTraceback: mine\n"


def test_greetings_are_left_out_and_errors_are_kept():
    assert without_greetings(GREETINGS, has_gpu=False) == b""
    assert without_greetings(GREETINGS + NO_GPU + OTHER, has_gpu=False) == OTHER
    assert without_greetings(GREETINGS + NO_GPU + OTHER, has_gpu=True) == NO_GPU + OTHER
    assert without_greetings(b"half a line", has_gpu=False) == b"half a line"
    assert without_greetings(b"", has_gpu=False) == b""


def test_a_new_process_prints_nothing_when_tensorflow_is_imported_and_first_used(project_dir):
    program = """
from maskformer_model.backend.quiet_start import import_tensorflow
import_tensorflow()
import tensorflow as tf
import keras
tf.zeros([2]) + 1
"""
    environment = {**os.environ, "PYTHONPATH": str(project_dir)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
