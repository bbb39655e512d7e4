"""The model that is served now: its process, the switch to a newer version, and what happens when the process dies.

A newer version is loaded beside the old one and takes over between two batches; the old process ends when its last
answer is out. A process that dies, or takes too long, is started anew and its batch is tried once more.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import logging
import multiprocessing
from collections.abc import Callable
from typing import Any

from maskformer_model.export import versions as export_versions
from maskformer_model.serve import model_process
from maskformer_model.serve.model_process import Call, Failed, Ready

_LOAD_TIMEOUT_S = 600.0
_TRIES = 3


class ModelUnavailableError(RuntimeError):
    """No process could answer."""


class ProcessDiedError(RuntimeError):
    """The process ended, or was ended because it took too long, before it answered."""


class ModelProcess:
    """One version in one process. Calls are made one after another.

    Attributes:
        version: Its number.
        ready: What it said when it was loaded.
    """

    def __init__(self, version: int, model_dir: str):
        self.version = version
        self.ready: Ready | None = None
        self._model_dir = model_dir
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix=f"model-{version}")
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Starts the process and waits until it has loaded its model.

        Raises:
            ModelUnavailableError: if it cannot.
        """
        context = multiprocessing.get_context("spawn")  # A fork would copy whatever state other threads are in.
        self._connection, childs_end = context.Pipe()
        arguments = (childs_end, self._model_dir)
        self._process = context.Process(target=model_process.run, args=arguments, daemon=True)
        self._process.start()
        childs_end.close()
        try:
            answer = await self._in_thread(lambda: self._receive(_LOAD_TIMEOUT_S))
        except ProcessDiedError as error:
            raise ModelUnavailableError(f"Version {self.version} cannot be loaded: {error}") from error
        if isinstance(answer, Failed):
            raise ModelUnavailableError(f"Version {self.version} cannot be loaded: {answer.reason}")
        self.ready = answer

    async def answer(self, call: Call, timeout_s: float) -> list[Any]:
        """One answer per photo: a dict, or a `Refused`.

        Raises:
            ProcessDiedError: if the process is gone, or took longer than `timeout_s`.
            ModelUnavailableError: if the model failed for a reason of its own.
        """

        def exchange():
            try:
                self._connection.send(call)
            except OSError as error:
                raise ProcessDiedError(f"the process is gone: {error}") from error
            return self._receive(timeout_s)

        async with self._lock:
            answer = await self._in_thread(exchange)
        if isinstance(answer, Failed):
            raise ModelUnavailableError(answer.reason)
        return answer

    async def close(self) -> None:
        """Ends the process once its last answer is out."""
        async with self._lock:
            self._connection.close()
            await self._in_thread(lambda: self._process.join(10))
            if self._process.is_alive():
                self._process.kill()
                await self._in_thread(self._process.join)
        self._thread.shutdown(wait=False)

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._process.pid

    def _receive(self, timeout_s: float) -> Any:
        try:
            if self._connection.poll(timeout_s):
                return self._connection.recv()
        except (EOFError, OSError) as error:
            raise ProcessDiedError(f"the process ended with exit code {self._process.exitcode}") from error
        self._process.kill()
        raise ProcessDiedError(f"no answer in {timeout_s:g} s")

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


@dataclasses.dataclass
class VersionState:
    """What the status page says of a version."""

    state: str
    error: str = ""


class ServedModel:
    """The newest version of a folder, kept alive.

    Attributes:
        states: By version: LOADING, AVAILABLE or END, and why.
        restarts: How often a process was started anew.
        switches: How often another version took over.
    """

    def __init__(self, model_dir: str, timeout_s: float):
        self.states: dict[int, VersionState] = {}
        self.restarts = 0
        self.switches = 0
        self._model_dir = model_dir
        self._timeout_s = timeout_s
        self._current: ModelProcess | None = None
        self._retired: set[asyncio.Task] = set()

    @property
    def current(self) -> ModelProcess | None:
        """The process that answers, if one is ready."""
        return self._current

    async def refresh(self) -> None:
        """Switches to the newest version that can be loaded, if another one serves. Never raises for a bad version."""
        for version, model_dir in self._candidates():
            if self._current and version == self._current.version:
                return
            if version in self.states and self.states[version].error:
                continue  # It was tried; a version never changes.
            try:
                await self._switch(version, model_dir)
                return
            except ModelUnavailableError as error:
                logging.error("%s", error)
                self.states[version] = VersionState("END", str(error))

    async def answer(self, call: Call) -> list[Any]:
        """See `ModelProcess.answer`; a process that dies is replaced and asked again.

        Raises:
            ModelUnavailableError: if no version is ready, or the model fails, or dies of every try.
        """
        for _ in range(_TRIES):
            process = self._current
            if process is None:
                raise ModelUnavailableError("No version of the model is loaded yet.")
            try:
                return await process.answer(call, self._timeout_s)
            except ProcessDiedError as error:
                logging.error("Version %s: %s; it is started anew.", process.version, error)
                self.restarts += 1
                await self._replace(process)
        raise ModelUnavailableError(f"The model's process died {_TRIES} times of this batch.")

    async def close(self) -> None:
        """Ends every process."""
        if self._current:
            await self._current.close()
            self._current = None
        if self._retired:
            await asyncio.gather(*self._retired)

    def _candidates(self) -> list[tuple[int, str]]:
        """Versions and their folders, newest first."""
        if export_versions.is_saved_model(self._model_dir):
            return [(1, self._model_dir)]
        versions = export_versions.list_versions(self._model_dir)
        return [(version, export_versions.version_dir(self._model_dir, version)) for version in reversed(versions)]

    async def _switch(self, version: int, model_dir: str) -> None:
        self.states[version] = VersionState("LOADING")
        process = ModelProcess(version, model_dir)
        await process.start()
        old, self._current = self._current, process
        self.states[version] = VersionState("AVAILABLE")
        logging.info("Version %s serves.", version)
        if old:
            self.switches += 1
            self.states[old.version] = VersionState("END")
            task = asyncio.create_task(old.close())
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def _replace(self, dead: ModelProcess) -> None:
        if self._current is not dead:
            return  # A newer version took over meanwhile.
        fresh = ModelProcess(dead.version, dead._model_dir)
        await fresh.start()
        if self._current is dead:
            self._current = fresh
        else:
            await fresh.close()
        await dead.close()
