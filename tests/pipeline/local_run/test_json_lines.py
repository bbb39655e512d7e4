"""Lines that were cut cost themselves and nothing else."""

import logging

import pytest

from pipeline.local_run.json_lines import append_json_line, read_json_lines


def test_what_is_appended_is_read(tmp_path):
    path = tmp_path / "runs.jsonl"
    assert read_json_lines(path) == []
    append_json_line(path, {"a": 1})
    append_json_line(path, {"b": [2]})
    assert read_json_lines(path) == [{"a": 1}, {"b": [2]}]


@pytest.mark.parametrize("damage", [b'{"cut": ', b"\x00\x00\x00", b"[1, 2]", b"\xff\xfe", b"null"])
def test_a_damaged_line_is_skipped_with_a_warning_and_the_next_line_is_whole(tmp_path, caplog, damage):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b'{"a": 1}\n' + damage)
    append_json_line(path, {"b": 2})
    with caplog.at_level(logging.WARNING):
        assert read_json_lines(path) == [{"a": 1}, {"b": 2}]
    assert "runs.jsonl, line 2 is damaged" in caplog.text
