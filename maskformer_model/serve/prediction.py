"""Turns a request into its answers, the same for every protocol: checks, the queue, and what can go wrong."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

from maskformer_model.serve import rest
from maskformer_model.serve.batching import Batcher, OverloadError
from maskformer_model.serve.guards.request_error import RequestError
from maskformer_model.serve.model_client import ModelUnavailableError, OutOfTimeError
from maskformer_model.serve.model_process import PHOTO_SIGNATURES, Ready, Refused
from maskformer_model.serve.prometheus import Metrics
from maskformer_model.serve.rest import PredictRequest
from maskformer_model.serve.served_model import Lost, ServedModel
from maskformer_model.serve.settings import ServerSettings

_Result = TypeVar("_Result")

_IN_LOOP_BYTES = 64 << 10  # Reading so little takes less time than handing it to a thread.


class Prediction:
    """Answers requests with the served model.

    Args:
        settings: Its limits are held to; `max_pixels` is a number by now.
        model: What answers.
        metrics: Counts every request, and times those that are answered.
    """

    def __init__(self, settings: ServerSettings, model: ServedModel, metrics: Metrics):
        self._settings = settings
        self._model = model
        self._metrics = metrics
        self._threads = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="requests")
        self.batcher = Batcher(
            model.answer,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
            wait_s=settings.batch_wait_s,
            max_batch_pixels=settings.max_pixels,
            on_batch=self._observe_batch,
        )

    async def answer(self, asked: PredictRequest) -> list[dict[str, Any]]:
        """Returns one answer per photo.

        Raises:
            RequestError: if there is none, and why.
        """
        self._require_signature(asked.signature)
        measure = functools.partial(rest.require_size, asked.photos, self._settings.max_pixels)
        pixels = await self.off_loop(measure, sum(map(len, asked.photos)))
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answers = await self.batcher.submit(asked.signature, asked.photos, asked.scalars, pixels)
        except OverloadError as error:
            raise RequestError(503, str(error), error.retry_after_s) from error
        except ModelUnavailableError as error:
            raise RequestError(503, str(error), retry_after_s=5) from error
        except (TimeoutError, OutOfTimeError) as error:
            raise RequestError(504, f"No answer within {self._settings.timeout_s:g} s.") from error
        for index, one in enumerate(answers):
            if isinstance(one, Refused):
                raise RequestError(400, f"`{rest.PHOTO_INPUT}[{index}]` {one.rule}")
            if isinstance(one, Lost):
                raise RequestError(500, f"`{rest.PHOTO_INPUT}[{index}]` ended the model's process twice: {one.reason}")
        return answers

    async def off_loop(self, work: Callable[[], _Result], num_bytes: int) -> _Result:
        """Does what takes long for many bytes in a thread, so that other connections go on meanwhile.

        Raises:
            RequestError: 400 where `work` raises a `BadRequestError`.
        """
        try:
            if num_bytes <= _IN_LOOP_BYTES:
                return work()
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except rest.BadRequestError as error:
            raise RequestError(400, str(error)) from error

    def require_model(self, name: str, version: str | None) -> None:
        """Checks that a path is of the model that is served.

        Raises:
            RequestError: 404 if it is of another.
        """
        if name != self._settings.name:
            raise RequestError(404, f"There is no model {name!r} here, but {self._settings.name!r}.")
        if version and version != str(self.version()):
            raise RequestError(404, f"Version {version} is not served, but {self.version()}.")

    def require_ready(self) -> Ready:
        """Returns what the model says of itself.

        Raises:
            RequestError: 503 if none is loaded.
        """
        process = self._model.current
        if process is None or process.ready is None:
            raise RequestError(503, "No version of the model is loaded yet.", retry_after_s=5)
        return process.ready

    def version(self) -> int:
        """Returns the version that serves; 0 before one is loaded."""
        return self._model.current.version if self._model.current else 0

    def counted(self) -> Counted:
        """Counts one request and how it ended; see `Counted`."""
        return Counted(self._metrics)

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _require_signature(self, signature: str) -> None:
        if signature not in PHOTO_SIGNATURES:
            known = list(PHOTO_SIGNATURES)
            raise RequestError(400, f"`signature_name` must be one of {known}. Received: {signature!r}")
        process = self._model.current
        if process and process.ready and signature not in process.ready.signatures:
            has = list(process.ready.signatures)
            raise RequestError(400, f"The model has no signature {signature!r}, but {has}.")

    def _observe_batch(self, photos: int, seconds: float) -> None:
        self._metrics.batch_photos.observe(photos)
        self._metrics.batch_seconds.observe(seconds)


class Counted:
    """A context that counts a request by the status of its answer, and times it unless it was refused."""

    def __init__(self, metrics: Metrics):
        self._metrics = metrics

    def __enter__(self) -> None:
        self._metrics.in_flight += 1
        self._start_s = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._metrics.in_flight -= 1
        if error is None:
            self._metrics.count_request(200)
            self._metrics.request_seconds.observe(time.monotonic() - self._start_s)
        elif isinstance(error, RequestError):
            self._metrics.count_request(error.status)
        elif isinstance(error, Exception):
            self._metrics.count_request(500)
