"""Tests of `pipeline.console`."""

import io
import logging

import pytest

from pipeline.console import ConsoleProgress, log_to_file
from pipeline.run_record import NodeRecord


@pytest.fixture
def logging_as_it_was():
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    logging.captureWarnings(False)
    root.level, root.handlers = level, handlers


def test_a_node_is_one_line_with_its_time_memory_and_state():
    stream = io.StringIO()
    progress = ConsoleProgress(stream)
    progress.node_begins("Trainer", 6, 11)
    progress.node_ends(NodeRecord(node_id="Trainer", state="ran", seconds=12.34, peak_memory_mb=987.6))
    assert stream.getvalue() == "[ 6/11] Trainer                    12.3 s     988 MB  ran\n"
    assert [record.node_id for record in progress.records] == ["Trainer"]


def test_logs_go_to_the_file_and_not_to_the_terminal(tmp_path, capfd, logging_as_it_was):
    log_to_file(tmp_path / "logs" / "run.log")
    logging.getLogger("absl").info("a line of TFX")
    assert "a line of TFX" in (tmp_path / "logs" / "run.log").read_text()
    assert capfd.readouterr() == ("", "")
