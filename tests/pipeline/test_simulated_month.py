"""The loop around the real pipeline, a span a day: `simulated_month` in its short form."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.takes(seconds=120)


@pytest.mark.slow
def test_after_every_day_the_states_the_log_the_page_the_alerts_and_what_serves_are_right(project_dir, tmp_path):
    # A process of its own: its runs are forked, which no process does well that has run TensorFlow.
    command = [sys.executable, "-m", "tests.pipeline.simulated_month", "--short", "--root", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(project_dir)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=project_dir, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    days = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    states = ["pushed", "nothing", "waits", "set aside", "set aside", "set aside", "rejected", "nothing"]
    assert [day[2] for day in days] == states
    assert len({day[3] for day in days}) == 1  # The version of the first day serves to the last.
    assert [day[4] for day in days][1:4] == ["0", "0", "0"]
    assert not list((tmp_path / "root" / "serving").glob(".incoming-*"))
    assert not list((tmp_path / "root" / "retrain" / "data").iterdir())
