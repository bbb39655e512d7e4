"""Tests of `pipeline.local_run.console`."""

import io
import logging
import os
import sys

from pipeline.local_run.console import ConsoleProgress, log_to_file, native_stderr_to
from pipeline.local_run.run_record import NodeRecord


def test_a_node_is_one_line_with_its_time_memory_and_state():
    stream = io.StringIO()
    progress = ConsoleProgress(stream)
    progress.node_begins("Trainer", 6, 11)
    progress.node_ends(NodeRecord(node_id="Trainer", state="ran", seconds=12.34, peak_memory_mb=987.6))
    assert stream.getvalue() == "[ 6/11] Trainer                    12.3 s     988 MB  ran\n"
    assert [record.node_id for record in progress.records] == ["Trainer"]


def test_logs_go_to_the_file_and_not_to_the_terminal(tmp_path, capfd):
    before = list(logging.getLogger().handlers)
    with log_to_file(tmp_path / "logs" / "run.log"):
        logging.getLogger("a.library").info("a line of a library")
    assert "a line of a library" in (tmp_path / "logs" / "run.log").read_text()
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == before


def test_c_code_s_stderr_goes_to_the_file_while_python_s_stays(tmp_path, capfd):
    log = tmp_path / "run.log"
    log.write_text("before\n")
    with native_stderr_to(log):
        os.write(2, b"I0000 from C++\n")
        print("a progress bar", file=sys.stderr)
    os.write(2, b"afterwards\n")
    assert log.read_text() == "before\nI0000 from C++\n"
    assert capfd.readouterr().err == "a progress bar\nafterwards\n"
