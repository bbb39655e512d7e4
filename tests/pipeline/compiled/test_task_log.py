"""The error that ended a task, from its log."""

from pipeline.compiled.task_log import last_error

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    open(path)\n'


def test_a_log_s_last_traceback_is_told_with_its_type_and_without_what_was_logged_after_it():
    log = (
        f"I1129 10:00:00.000 starting\n{TRACEBACK}KeyError: 'first'\n\n"
        f"During handling of the above exception, another exception occurred:\n\n{TRACEBACK}"
        "FileNotFoundError: [Errno 2] /opt/x\n  there is: a, b\n"
        "INFO:root:closing\nW1129 10:00:01.000 exiting\n"
    )
    assert last_error(log) == "FileNotFoundError: [Errno 2] /opt/x\n  there is: a, b"


def test_a_beam_step_in_a_log_is_told_by_the_error_in_it():
    inner = f"{TRACEBACK}ValueError: bad record 7\n"
    log = f"{TRACEBACK}RuntimeError: {inner} [while running 'Read-ptransform-3']\nexit\n"
    assert last_error(log) == "ValueError: bad record 7\nexit"


def test_a_log_without_a_traceback_is_told_by_its_last_line():
    assert last_error("a\nmanifest: no such folder.\n\n") == "manifest: no such folder"
    assert last_error(TRACEBACK) == last_error("\n") == ""
