"""Tests of `pipeline.local_run.peak_memory`."""

import subprocess
import sys

import numpy as np

from pipeline.local_run.peak_memory import PeakMemory


def test_a_peak_that_is_over_is_still_reported():
    with PeakMemory() as memory:
        before = memory.megabytes
        block = np.ones(200_000_000, dtype=np.uint8)
        memory._sample()  # Instead of waiting for the thread's next look.
        del block
    assert before + 150 < memory.megabytes < before + 400


def test_children_are_counted():
    hold = "import sys; block = bytearray(b'x') * 150_000_000; print('ready', flush=True); sys.stdin.read()"
    with PeakMemory() as memory:
        before = memory.megabytes
        child = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdout.readline()
        memory._sample()
        child.communicate()
    assert memory.megabytes > before + 140
