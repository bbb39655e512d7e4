"""Keeps the model that is served: its process, the switch to another version, and a new process if it dies.

A newer version is loaded beside the old one and takes over between two batches; the old process ends when its last
answer is out. A process that dies is restarted; `answer` says what becomes of its batch. The server's end of one
process is `model_client`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from typing import Any

from maskformer_model.serve.model_client import (
    ModelProcess,
    ModelUnavailableError,
    OutOfTimeError,
    ProcessDiedError,
    ProcessGoneError,
)
from maskformer_model.serve.model_process import Call
from maskformer_model.serve.version_folder import Found, VersionFolder

_PROBE_EVERY_S = 15.0  # An idle process is asked so often whether it still answers.
_PROBE_OVERDUE_S = 5.0
_CLOSE_PATIENCE_S = 10.0


@dataclasses.dataclass(frozen=True)
class Lost:
    """The answer for a photo whose call ended the model's process."""

    reason: str


@dataclasses.dataclass
class VersionState:
    """The state of a version on the status page."""

    state: str
    error: str = ""


class ServedModel:
    """The newest version of a folder, kept alive.

    Args:
        model_dir: A SavedModel, or a folder of versions.
        timeout_s: A process that takes longer over a batch is restarted.
        probe: A call that every version answers quickly; None: an idle process is not asked.

    Attributes:
        states: By version: LOADING, AVAILABLE or END, and why.
        restarts: How often a process was restarted.
        switches: How often another version took over.
    """

    def __init__(self, model_dir: str, timeout_s: float, probe: Call | None = None):
        self.states: dict[int, VersionState] = {}
        self.restarts = 0
        self.switches = 0
        self._folder = VersionFolder(model_dir)
        self._timeout_s = timeout_s
        self._probe = probe
        self._current: ModelProcess | None = None
        self._served: Found | None = None
        self._newest: Found | None = None
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task] = set()

    @property
    def current(self) -> ModelProcess | None:
        """Returns what serves now."""
        return self._current

    def unready(self) -> str:
        """Says why a prediction would not be answered now; empty if it would."""
        return self._current.unready() if self._current else "No version of the model is loaded."

    def behind(self) -> str:
        """Says why a newer version than the one that serves does not; empty where there is none."""
        newest = self._newest
        if newest is None or self._served is None or newest.version == self._served.version:
            return ""
        state = self.states.get(newest.version)
        return state.error if state else ""

    async def refresh(self) -> None:
        """Looks at the folder, and serves the newest version that loads; restarts a process that died.

        Raises:
            OSError: if the folder cannot be read.
        """
        if self._current and not self._current.is_alive():
            await self._replace(self._current)
        found = await asyncio.to_thread(self._folder.look)
        self._newest = found[0] if found else None
        async with self._changing:
            for candidate in found:
                if self._served and self._served.version == candidate.version:
                    # What changed after it was loaded is loaded again; the old process stays if that fails.
                    if self._served != candidate and self._folder.is_due(candidate, nothing_served=False):
                        await self._try(candidate)
                    break
                if self._folder.is_due(candidate, nothing_served=self._current is None) and await self._try(candidate):
                    break
        self._ask_whether_it_answers()

    async def answer(self, call: Call) -> list[Any]:
        """Returns one answer per photo: a dict, a `Refused` or a `Lost`.

        When the process dies of a batch, or with it, it is replaced and asked for each photo alone, once: a photo that
        kills the process again is `Lost`, and costs the others nothing.

        Raises:
            ModelUnavailableError: if no version is ready, or the model failed for a reason of its own.
            OutOfTimeError: if the model took too long. What did not succeed in that time is not tried again.
        """
        try:
            return await self._answer_once(call)
        except ProcessDiedError:
            answers: list[Any] = []
            for photo in call.photos:
                try:
                    answers += await self._answer_once(dataclasses.replace(call, photos=(photo,)))
                except ProcessDiedError as error:
                    answers.append(Lost(str(error)))
            return answers

    async def close(self) -> None:
        """Ends every process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._current:
            await self._current.close(0)
            self._current = None

    async def _answer_once(self, call: Call) -> list[Any]:
        try:
            return await self._ask_current(call)
        except ProcessGoneError:
            # The call did not end that process, so the next one gets it as if it were new.
            return await self._ask_current(call)

    async def _ask_current(self, call: Call) -> list[Any]:
        process = self._current
        if process is None:
            raise ModelUnavailableError("No version of the model is loaded yet.")
        try:
            return await process.answer(call, self._timeout_s)
        except ProcessDiedError as error:
            logging.error("Version %s: %s; it is restarted.", process.version, error)
            await self._replace(process)
            raise
        except OutOfTimeError as error:
            logging.error("Version %s: %s for %s photos; it is restarted.", process.version, error, len(call.photos))
            self._in_background(self._replace(process))
            raise

    async def _try(self, found: Found) -> bool:
        was_served = self._served is not None and self._served.version == found.version
        if not was_served:
            self.states[found.version] = VersionState("LOADING")
        process = ModelProcess(found.version, found.model_dir)
        try:
            await process.start()
            if not await asyncio.to_thread(self._folder.is_as_found, found):
                await process.close(0)
                raise ModelUnavailableError(f"Version {found.version} cannot be loaded: its folder is being changed.")
        except ModelUnavailableError as error:
            wait_s = self._folder.failed(found)
            logging.error("%s It is tried again when its folder changes, and in %.0f s.", error, wait_s)
            self.states[found.version] = VersionState("AVAILABLE" if was_served else "END", str(error))
            return False
        self._take_over(process, found)
        return True

    def _take_over(self, process: ModelProcess, found: Found) -> None:
        old, self._current, self._served = self._current, process, found
        self._folder.succeeded(found)
        if old:
            self.switches += 1
            self.states[old.version] = VersionState("END")
            self._in_background(old.close(self._timeout_s + _CLOSE_PATIENCE_S))
        self.states[found.version] = VersionState("AVAILABLE")
        logging.info("Version %s serves.", found.version)

    async def _replace(self, dead: ModelProcess) -> None:
        """Restarts a version's process; if that fails, nothing serves until `refresh` finds a version that loads."""
        async with self._changing:
            if self._current is not dead:
                return  # Another process took over meanwhile.
            self.restarts += 1
            self.states[dead.version] = VersionState("LOADING", dead.unready())
            fresh = ModelProcess(dead.version, dead.model_dir)
            try:
                await fresh.start()
            except ModelUnavailableError as error:
                logging.error("%s Nothing serves until a version loads.", error)
                self.states[dead.version] = VersionState("END", str(error))
                if self._served:
                    self._folder.failed(self._served)
                self._current = self._served = None
            else:
                self.states[dead.version] = VersionState("AVAILABLE")
                self._current = fresh
            await dead.close(0)

    def _ask_whether_it_answers(self) -> None:
        process = self._current
        if self._probe and process and not process.is_busy and time.monotonic() - process.answered_s > _PROBE_EVERY_S:
            self._in_background(self._ask(process, self._probe))

    async def _ask(self, process: ModelProcess, probe: Call) -> None:
        try:
            await process.answer(probe, self._timeout_s, overdue_s=_PROBE_OVERDUE_S)
        except (ProcessDiedError, OutOfTimeError, ModelUnavailableError) as error:
            logging.error("Version %s did not answer a trial: %s; it is restarted.", process.version, error)
            await self._replace(process)

    def _in_background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
