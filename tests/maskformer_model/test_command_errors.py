"""Tests of `maskformer_model.command_errors`."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from maskformer_model.command_errors import run_command, sentence_of


def error_of(action):
    try:
        action()
    except BaseException as error:
        return error
    raise RuntimeError("nothing was raised")


def test_a_missing_file_is_named_with_the_next_step():
    error = error_of(pathlib.Path("/nowhere/photo.jpg").read_bytes)
    assert sentence_of(error) == "/nowhere/photo.jpg: No such file or directory. Check the path."


@pytest.mark.parametrize(
    ("code", "step"),
    [
        (errno.EACCES, "Give this user the right to read it"),
        (errno.ENOSPC, "Free space there"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EROFS, "Choose a place"),
    ],
)
def test_the_number_of_an_os_error_becomes_words_and_a_next_step(code, step):
    sentence = sentence_of(OSError(code, "what the system says", "/data/a b[1]"))
    assert sentence.startswith("/data/a b[1]: what the system says. ")
    assert step in sentence and str(code) not in sentence


def test_of_a_rename_both_paths_are_named():
    error = OSError(errno.EXDEV, "Invalid cross-device link", "/a", None, "/b")
    assert sentence_of(error) == "/a -> /b: Invalid cross-device link."


def test_an_error_of_this_project_is_said_as_it_is():
    assert sentence_of(ValueError("`size` must be positive. Received: 0")) == "`size` must be positive. Received: 0"
    assert sentence_of(KeyError("Unknown setting `a`.")) == "Unknown setting `a`."
    assert sentence_of(FileNotFoundError("Nothing found at /x.")) == "Nothing found at /x."


def test_an_error_without_a_sentence_says_its_type_and_its_place():
    here = pathlib.Path(__file__).name
    for error in (error_of(lambda: {}["mean_iou"]), error_of(lambda: None.shape), error_of(lambda: 1 / 0)):
        sentence = sentence_of(error)
        assert sentence.startswith(type(error).__name__) and f"({here}, line " in sentence
        assert sentence.endswith("PYTHONDEVMODE=1 shows the whole traceback.")


def test_no_memory_no_json_no_text_and_no_end_of_nesting_are_sentences():
    assert sentence_of(MemoryError()).startswith("Not enough memory. Free memory")
    assert "Check that it is whole" in sentence_of(error_of(lambda: json.loads('{"images": [')))
    assert "not text in UTF-8" in sentence_of(error_of(lambda: b"\xff\xfe".decode("utf-8")))
    assert "nested too deeply" in sentence_of(error_of(lambda: json.loads("[" * 100_000)))


def test_a_full_disk_is_known_by_the_words_of_other_packages():
    error = OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')")
    assert sentence_of(error).endswith("Free space there, or choose another disk, and start again.")


def test_of_a_folder_that_could_not_be_copied_one_file_is_named():
    files = [("/model/a", f"/serving/{name}", "[Errno 28] No space left on device") for name in "ab"]
    expected = (
        "/serving/a: [Errno 28] No space left on device. Free space there, or choose another disk, and start again."
    )
    assert sentence_of(shutil.Error(files)) == expected


def test_an_error_of_tensorflow_is_said_without_its_graph():
    import tensorflow as tf

    message = "{{function_node __wrapped__ReadFile}} /x/a.tfrecord; No such file\n[[a]]"
    error = tf.errors.NotFoundError(None, None, message)
    assert sentence_of(error) == "/x/a.tfrecord; No such file"


def test_the_command_s_own_status_is_returned_and_an_error_s_on_stderr(capsys):
    assert run_command("count", lambda: 7) == 7

    def fail():
        raise ValueError("`a` must be 1. Received: 2")

    assert run_command("count", fail, status=1) == 1
    assert capsys.readouterr().err == "count: `a` must be 1. Received: 2\n"
    with pytest.raises(ValueError):
        run_command("count", fail, shows_traceback=True)


@pytest.mark.parametrize(
    ("umask", "file_mode", "folder_mode"),
    [("000", 0o644, 0o755), ("022", 0o644, 0o755), ("077", 0o640, 0o750), ("027", 0o640, 0o750)],
)
def test_what_a_command_writes_its_group_may_read_and_nobody_else_write(
    project_dir, tmp_path, umask, file_mode, folder_mode
):
    program = (
        "import os, sys; from maskformer_model.command_errors import run_command\n"
        "sys.exit(run_command('write', lambda: os.system('mkdir folder && touch folder/file')))"
    )
    subprocess.run(
        ["sh", "-c", f'umask {umask} && exec "$0" -c "$1"', sys.executable, program],
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(project_dir)},
    )
    folder = tmp_path / "folder"
    assert folder.stat().st_mode & 0o777 == folder_mode
    assert (folder / "file").stat().st_mode & 0o777 == file_mode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_a_signal_ends_leaves_no_temporary_folder(project_dir, tmp_path, number):
    program = (
        "import signal, sys, tempfile\n"
        "from maskformer_model.command_errors import run_command\n"
        # Where the tests run in the background or under nohup, both are inherited as ignored.
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def body():\n"
        "    kept = tempfile.TemporaryDirectory()\n"
        "    with tempfile.TemporaryDirectory():\n"
        "        print('ready', flush=True)\n"
        "        signal.pause()\n"
        "sys.exit(run_command('wait', body))"
    )
    environment = os.environ | {"PYTHONPATH": str(project_dir), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n" and len(list(tmp_path.iterdir())) == 2
        process.send_signal(number)
        assert process.wait() == 128 + number
    assert not list(tmp_path.iterdir())


def test_a_command_leaves_handlers_of_its_caller_and_of_itself_and_what_is_ignored():
    def own(*_):
        pass

    seen = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGTERM, own)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        run_command("look", lambda: seen.extend(map(signal.getsignal, before)) or 0)
        assert seen == [own, signal.SIG_IGN] == [signal.getsignal(number) for number in before]
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        run_command("look", lambda: 0)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        run_command("set", lambda: signal.signal(signal.SIGTERM, own) and 0)
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_ctrl_c_ends_with_130_and_without_a_traceback(capsys):
    def interrupt():
        raise KeyboardInterrupt

    assert run_command("count", interrupt) == 130
    assert capsys.readouterr().err == "count: interrupted.\n"


def test_a_reader_that_closes_the_output_gets_no_complaint(project_dir):
    program = (
        "import sys; from maskformer_model.command_errors import run_command\n"
        "sys.exit(run_command('list', lambda: [print('x' * 1000, flush=True) for _ in range(10000)] and 0))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=project_dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_every_command_is_behind_the_boundary(project_dir):
    """A program that a platform starts, and no person, keeps its traceback for the platform's log."""
    by_platforms = ("pipeline/compiled/", "components/infra_validator/")
    missing = []
    for package in ("maskformer_model", "components", "pipeline"):
        for path in sorted((project_dir / package).rglob("*.py")):
            text, name = path.read_text("utf-8"), str(path.relative_to(project_dir))
            if "argparse.ArgumentParser(" in text or 'if __name__ == "__main__"' in text:
                is_command = "\ndef main(" in text and not name.startswith(by_platforms)
                has_boundary = "run_command(" in text or "return train.run(" in text  # `train.run` is behind it.
                missing += [name] if is_command and not has_boundary else []
    assert missing == []
