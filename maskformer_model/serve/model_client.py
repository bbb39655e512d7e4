"""Starts a model's process (`model_process`), calls it, and notices when it is gone."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing import resource_tracker
from typing import Any

from maskformer_model.serve import model_process
from maskformer_model.serve.model_process import Call, Failed, Ready

_LOAD_TIMEOUT_S = 600.0


class ModelUnavailableError(RuntimeError):
    """The error if no process could answer."""


class ProcessDiedError(RuntimeError):
    """The process ended before it answered."""


class ProcessGoneError(ProcessDiedError):
    """The process had ended before it was asked, so that what it would have been asked is not to blame."""


class OutOfTimeError(RuntimeError):
    """The process took longer than it may, and was ended."""


class ModelProcess:
    """A version in a process of its own. Calls are made one after another.

    Attributes:
        version: Its number.
        model_dir: Its folder.
        ready: What it said when it was loaded.
        answered_s: When it last answered, by `time.monotonic`.
    """

    def __init__(self, version: int, model_dir: str):
        self.version = version
        self.model_dir = model_dir
        self.ready: Ready | None = None
        self.answered_s = 0.0
        self._process: Any = None
        self._connection: Any = None
        self._overdue_s: float | None = None
        self._lost = ""
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix=f"model-{version}")
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Starts the process, and waits until it has loaded its model and tried every signature.

        Raises:
            ModelUnavailableError: if it cannot.
        """
        try:
            self._spawn()
            answer = await self._in_thread(lambda: self._receive(_LOAD_TIMEOUT_S))
        except (OSError, ProcessDiedError, OutOfTimeError) as error:
            self._kill()
            raise ModelUnavailableError(f"Version {self.version} cannot be loaded: {error}") from error
        except asyncio.CancelledError:
            self._kill()
            raise
        if isinstance(answer, Failed):
            self._kill()
            raise ModelUnavailableError(f"Version {self.version} cannot be loaded: {answer.reason}")
        self.ready = answer
        self.answered_s = time.monotonic()

    async def answer(self, call: Call, timeout_s: float, overdue_s: float | None = None) -> list[Any]:
        """Returns one answer per photo: a dict, or a `Refused`.

        Args:
            call: The photos.
            timeout_s: After so long the process is ended.
            overdue_s: After so long it counts as not ready; None: only when it is ended.

        Raises:
            ProcessGoneError: if the process had ended before.
            ProcessDiedError: if it ended meanwhile.
            OutOfTimeError: if it took longer than `timeout_s`.
            ModelUnavailableError: if the model failed for a reason of its own.
        """

        def exchange():
            try:
                self._connection.send(call)
            except OSError as error:
                raise ProcessGoneError(f"the process is gone: {error}") from error
            return self._receive(timeout_s)

        async with self._lock:
            self._overdue_s = time.monotonic() + (timeout_s if overdue_s is None else overdue_s)
            try:
                answer = await self._in_thread(exchange)
            except (ProcessDiedError, OutOfTimeError) as error:
                self._lost = str(error)
                raise
            finally:
                self._overdue_s = None
            self.answered_s = time.monotonic()
        if isinstance(answer, Failed):
            raise ModelUnavailableError(answer.reason)
        return answer

    async def close(self, patience_s: float) -> None:
        """Ends the process once its last answer is out, or after `patience_s`."""
        try:
            async with asyncio.timeout(patience_s), self._lock:
                self._kill()
        except TimeoutError:
            self._kill()

    def is_alive(self) -> bool:
        """Returns whether the process exists; it may be loading, or hang."""
        return not self._lost and self._process is not None and self._process.is_alive()

    @property
    def is_busy(self) -> bool:
        """Returns whether it has a call to answer."""
        return self._lock.locked()

    def unready(self) -> str:
        """Says why a prediction would not be answered now; empty if it would."""
        if self.ready is None:
            return f"Version {self.version} is loading."
        if self._lost:
            return f"The process of version {self.version} is lost: {self._lost}."
        if not self.is_alive():
            return f"The process of version {self.version} ended with exit code {self._process.exitcode}."
        if self._overdue_s is not None and time.monotonic() > self._overdue_s:
            return f"The process of version {self.version} does not answer."
        return ""

    def _spawn(self) -> None:
        context = multiprocessing.get_context("spawn")  # A fork would copy whatever state other threads are in.
        self._connection, childs_end = context.Pipe()
        arguments = (childs_end, self.model_dir)
        self._process = context.Process(target=model_process.run, args=arguments, daemon=True)
        # A signal to the whole process group is the server's to act on: its model still has answers to give. The child
        # inherits what is blocked here, from its first instruction on; the tracker's own start would unblock it.
        resource_tracker.ensure_running()
        stop_signals = {signal.SIGTERM, signal.SIGINT}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            childs_end.close()

    def _receive(self, timeout_s: float) -> Any:
        try:
            if self._connection.poll(timeout_s):
                return self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(1)  # Its exit code comes a moment after the end of its pipe.
            raise ProcessDiedError(f"the process ended with exit code {self._process.exitcode}") from error
        self._process.kill()
        raise OutOfTimeError(f"no answer within {timeout_s:g} s")

    def _kill(self) -> None:
        """Ends the process now; the thread that waits for it sees the end of the pipe."""
        if self._process is not None and self._process.pid is not None:
            self._process.kill()
            self._thread.submit(self._process.join)
        if self._connection is not None:
            self._thread.submit(self._connection.close)  # After whatever the thread still reads from it.
        self._thread.shutdown(wait=False)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)
