"""The boundary of every command: an error that ends it becomes one sentence with the path and the next step.

A command's `main` reads its arguments and gives the rest to `run_command`. Errors that this project raises are
sentences already and are printed as they are. What comes from the operating system or from another package is said in
our words. With `PYTHONDEVMODE=1` or `python -X dev` the traceback is shown instead.

A command that SIGTERM or SIGHUP ends leaves its `with` blocks as after Ctrl-C, so that its temporary folders go.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator

EXIT_USAGE, EXIT_INTERRUPTED, EXIT_PIPE_CLOSED = 2, 130, 141
_SIGNALLED = 128  # What shells add to the number of the signal that ended a program.

_PACKAGE_DIR = pathlib.Path(__file__).resolve().parent
_NEXT_STEPS = {
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "Check the path: a part of it is a file.",
    errno.EISDIR: "Name a file, not a folder.",
    errno.EEXIST: "Remove it or choose another place.",
    errno.EACCES: "Give this user the right to read it, and to write where it is an output.",
    errno.EPERM: "Give this user the right to change it.",
    errno.EROFS: "Choose a place that can be written to.",
    errno.ENOSPC: "Free space there, or choose another disk, and start again.",
    errno.EDQUOT: "Free space within the quota, or choose another disk, and start again.",
    errno.EFBIG: "Raise the limit of file sizes (ulimit -f), or choose another disk, and start again.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n) and start again.",
    errno.ENFILE: "Close other programs, which hold too many open files, and start again.",
    errno.ENOMEM: "Free memory, or take smaller batches and photos, and start again.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ELOOP: "Remove the link that points to itself.",
    errno.EADDRINUSE: "Stop what listens there, or choose another port.",
    errno.ECONNREFUSED: "Check the address and that its server runs.",
    errno.EIO: "Check the disk.",
}
_FULL_DISK = re.compile(r"no space left on device|disk (is )?full|file too large", re.IGNORECASE)
# Mistakes in a program, and no answers to what its user has given.
_MISTAKES = (ArithmeticError, AssertionError, AttributeError, IndexError, NameError, TypeError)
_TRACEBACK = "Traceback (most recent call last)"
# Beam reports a step's error as the text of its traceback, with the step's name at the end.
_BEAM_STEP = re.compile(r"\s*\[while running '(?P<step>.*?)(-ptransform-\d+)?'\]")
_NAME_BEFORE_MESSAGE = re.compile(r"^(?:\w+\.)*\w+: ")
_HDF5_FILE = re.compile(r"filename = '([^']+)'")
_TENSORFLOW_NODE = re.compile(r"\{\{[^}]*\}\}\s*")


def run_command(name: str, body: Callable[[], int], *, status: int = EXIT_USAGE, shows_traceback: bool = False) -> int:
    """Runs a command and turns every error into a sentence on stderr and an exit status.

    What it writes is readable by its owner's group and writable by its owner alone, whatever the umask.

    Args:
        name: The command, as it stands before the sentence.
        body: Does the work and returns the exit status.
        status: The exit status after an error.
        shows_traceback: Raises errors as they are.
    """
    allow_group_to_read()
    try:
        with _ended_in_order_by_signals():
            return body()
    except KeyboardInterrupt:
        print(f"{name}: interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has closed it, as `head` does. Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    except Exception as error:
        if shows_traceback or sys.flags.dev_mode:
            raise
        print(f"{name}: {sentence_of(error)}", file=sys.stderr)
        return status


@contextlib.contextmanager
def _ended_in_order_by_signals() -> Iterator[None]:
    """Turns a signal to end into `SystemExit`, where the program has no handler of its own and does not ignore it."""
    process_id = os.getpid()
    replaced: list[signal.Signals] = []

    def end(number: int, _frame: object) -> None:
        if os.getpid() != process_id:  # A forked worker, which has nothing to put in order.
            os._exit(_SIGNALLED + number)
        sys.exit(_SIGNALLED + number)

    if threading.current_thread() is threading.main_thread():
        replaced = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for one in replaced:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in replaced:
            if signal.getsignal(one) is end:
                signal.signal(one, signal.SIG_DFL)


def allow_group_to_read() -> None:
    """Lets the owner's group read what this process and its children write, and nobody else write it.

    What a site's umask says of reading by others stays.
    """
    before = os.umask(0o022)
    os.umask((before | 0o022) & ~0o050)


def sentence_of(error: BaseException) -> str:
    """Returns what an error says, with the path and the next step as far as the error knows them."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        _, target, reason = error.args[0][0]  # It lists every file of the folder; one of them says it all.
        return _with_next_step(f"{target}: {reason}")
    if isinstance(error, OSError) and error.strerror:
        return _sentence_of_os_error(error)
    message = _message(error)
    if isinstance(error, MemoryError):
        return f"Not enough memory{_with(message)}. Free memory, or take smaller batches and photos, and start again."
    if isinstance(error, RecursionError):
        return "The input is nested too deeply. Check the file that was read."
    if isinstance(error, json.JSONDecodeError):
        return f"A file is not valid JSON: {message}. Check that it is whole."
    if isinstance(error, UnicodeDecodeError):
        return f"A file is not text in UTF-8: {message}. Check that it is the right file."
    if _FULL_DISK.search(message):
        return _with_next_step(message)
    if isinstance(error, _MISTAKES) or " " not in message:
        return f"{type(error).__name__}{_with(message)} ({_place(error)}). PYTHONDEVMODE=1 shows the whole traceback."
    return message


def _with_next_step(message: str) -> str:
    return f"{message.rstrip('.')}. {_NEXT_STEPS[errno.ENOSPC]}" if _FULL_DISK.search(message) else message


def _sentence_of_os_error(error: OSError) -> str:
    paths = [os.fsdecode(path) for path in (error.filename, error.filename2) if isinstance(path, (str, bytes))]
    reason, next_step = str(error.strerror), _NEXT_STEPS.get(error.errno or 0, "")
    if match := _HDF5_FILE.search(reason):
        # HDF5 says everything that it knows, over several lines.
        paths, reason = paths or [match[1]], os.strerror(error.errno or 0)
    place = f"{' -> '.join(paths)}: " if paths else ""
    return f"{place}{reason}. {next_step}".rstrip()


def _message(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = _BEAM_STEP.sub("", text).strip()
    if _TRACEBACK in text:
        text = _message_of_traceback(text)
    if type(error).__module__.startswith("tensorflow."):
        text = _TENSORFLOW_NODE.sub("", text).partition("\n")[0].strip()  # Below it stand the nodes of the graph.
    return text


def _message_of_traceback(text: str) -> str:
    lines = text[text.rindex(_TRACEBACK) :].splitlines()[1:]
    start = next((index for index, line in enumerate(lines) if not line.startswith(" ")), len(lines) - 1)
    return _NAME_BEFORE_MESSAGE.sub("", "\n".join(lines[start:]).strip())


def _with(message: str) -> str:
    return f": {message.rstrip('.')}" if message else ""


def _place(error: BaseException) -> str:
    """Where in the project the error arose, or was let through to from another package."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if pathlib.Path(frame.filename).is_relative_to(_PACKAGE_DIR.parent)]
    if not (ours or frames):
        return "nowhere"
    frame = (ours or frames)[-1]
    return f"{pathlib.Path(frame.filename).name}, line {frame.lineno}"
