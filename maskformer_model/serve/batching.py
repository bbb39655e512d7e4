"""Puts concurrent requests into batches: a bounded queue in front, one batch at the model at a time.

Photos that wait together and ask for the same go in one call, as long as they have no more pixels than a call should
have: a call is then over in good time. What does not fit in the queue is refused at once, with a guess of when to come
back: a queue that only grows answers nobody.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from maskformer_model.serve.background import BackgroundTask
from maskformer_model.serve.model_process import Call

_SMOOTHING = 0.1  # Of the seconds that a photo takes, as far as is known.


class OverloadError(RuntimeError):
    """The queue is full.

    Attributes:
        retry_after_s: When there should be room again.
    """

    def __init__(self, retry_after_s: int):
        super().__init__(f"The server is busy. Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


@dataclasses.dataclass
class _Waiting:
    photo: bytes
    pixels: int
    kind: tuple[str, tuple[tuple[str, float], ...]]
    answer: asyncio.Future


class Batcher:
    """Collects photos and hands them to a model.

    Args:
        answer: Answers a call, one item per photo.
        max_batch: See `ServerSettings`, as for the other arguments.
        max_queue: Most photos that wait.
        wait_s: How long the first of a batch waits for others.
        max_batch_pixels: Most pixels of a call with more than one photo.
        on_batch: Told the number of photos and the seconds of every batch.

    Attributes:
        task: What `run` runs; says whether it is behind.
    """

    def __init__(
        self,
        answer: Callable[[Call], Awaitable[list[Any]]],
        *,
        max_batch: int,
        max_queue: int,
        wait_s: float,
        max_batch_pixels: float = math.inf,
        on_batch: Callable[[int, float], None] = lambda photos, seconds: None,
    ):
        self._answer = answer
        self._max_batch = max_batch
        self._max_batch_pixels = max_batch_pixels
        self._max_queue = max_queue
        self._wait_s = wait_s
        self._on_batch = on_batch
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._arrived = asyncio.Event()
        self._seconds_per_photo = 0.5
        self.task = BackgroundTask("Answering batches", self._step, every_s=0.0)

    def __len__(self) -> int:
        return len(self._queue)

    async def submit(
        self,
        signature: str,
        photos: Sequence[bytes],
        scalars: Sequence[tuple[str, float]],
        pixels: Sequence[int] | None = None,
    ) -> list[Any]:
        """Returns the answers for the photos of one request, in their order.

        Args:
            signature: See `Call`, also for the others.
            photos: Encoded.
            scalars: By name.
            pixels: How many each photo has; None where that is not known, then they count for nothing.

        Raises:
            OverloadError: if they do not fit in the queue.
            ModelUnavailableError: from `ServedModel.answer`.
        """
        if len(self._queue) + len(photos) > self._max_queue:
            # Nobody waits any longer for the photos of a caller who has gone.
            self._queue = collections.deque(one for one in self._queue if not one.answer.done())
        if len(self._queue) + len(photos) > self._max_queue:
            raise OverloadError(max(1, math.ceil(len(self._queue) * self._seconds_per_photo)))
        loop = asyncio.get_running_loop()
        kind = (signature, tuple(scalars))
        sizes = pixels or [0] * len(photos)
        waiting = [_Waiting(photo, size, kind, loop.create_future()) for photo, size in zip(photos, sizes, strict=True)]
        self._queue.extend(waiting)
        self._arrived.set()
        try:
            return await asyncio.gather(*(one.answer for one in waiting))
        finally:
            for one in waiting:  # After a time-out nobody waits any more.
                one.answer.cancel()

    async def run(self) -> None:
        """Works until it is cancelled."""
        await self.task.run()

    async def _step(self) -> None:
        await self._arrived.wait()
        if len(self._queue) < self._max_batch:
            await asyncio.sleep(self._wait_s)
        batch = self._take()
        if batch:
            await self._work(batch)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        pixels = 0
        while self._queue and len(batch) < self._max_batch:
            first = self._queue[0]
            if first.answer.done():
                self._queue.popleft()
            elif not batch or (first.kind == batch[0].kind and pixels + first.pixels <= self._max_batch_pixels):
                batch.append(self._queue.popleft())
                pixels += first.pixels
            else:
                break
        if not self._queue:
            self._arrived.clear()
        return batch

    async def _work(self, batch: list[_Waiting]) -> None:
        start_s = time.monotonic()
        signature, scalars = batch[0].kind
        try:
            answers = await self._answer(Call(signature, tuple(one.photo for one in batch), scalars))
            if len(answers) != len(batch):
                raise RuntimeError(f"The model must answer each of {len(batch)} photos. Received: {len(answers)}")
        except Exception as error:  # It is the callers', whatever it is; the next batch must still be worked on.
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        for one, answer in zip(batch, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)
        seconds = time.monotonic() - start_s
        self._seconds_per_photo += _SMOOTHING * (seconds / len(batch) - self._seconds_per_photo)
        self._on_batch(len(batch), seconds)
