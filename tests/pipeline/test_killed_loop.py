"""The loop, killed before each of its steps: `killed_loop`."""

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.takes(seconds=70)


@pytest.mark.slow
def test_a_loop_that_is_killed_before_any_of_its_steps_loses_nothing(project_dir):
    # A process of its own: it forks, which no process does well that has run TensorFlow.
    command = [sys.executable, "-m", "tests.pipeline.killed_loop"]
    environment = os.environ | {"PYTHONPATH": str(project_dir)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=project_dir, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    steps = re.findall(r"killed before each of (\d+) steps; nothing was lost", done.stdout)
    assert len(steps) == 2 and min(map(int, steps)) > 50
