"""Bodies of requests, read and unpacked within a deadline and a budget of bytes over all connections.

Only bytes that have arrived count: a header that promises much reserves nothing. When the budget is spent, the body
that has been arriving for longest is given up, so that those who send slowly or not at all pay for it and not the next
caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator

from aiohttp import hdrs, web

from maskformer_model.serve.guards import packed_body
from maskformer_model.serve.guards.connections import connection_of
from maskformer_model.serve.guards.request_error import RequestError


@dataclasses.dataclass(eq=False)
class _Arriving:
    timer: asyncio.Timeout | None = None
    num_bytes: int = 0
    is_given_up: bool = False


class Bodies:
    """The request bodies of a server.

    Args:
        max_request_bytes: Most bytes of one body.
        max_body_bytes: Most bytes of all bodies that arrive or are being answered.
        timeout_s: How long a body may take.

    Attributes:
        num_bytes: How many bytes are held now.
    """

    def __init__(self, *, max_request_bytes: int, max_body_bytes: int, timeout_s: float):
        self.num_bytes = 0
        self._max_request_bytes = max_request_bytes
        self._max_body_bytes = max_body_bytes
        self._timeout_s = timeout_s
        self._arriving: dict[_Arriving, None] = {}  # The one that began first comes first.

    @contextlib.asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[bytearray]:
        """Gives the whole body, unpacked; its bytes count until the context ends.

        Raises:
            RequestError: 408 if it is late, 413 if it is too large, 503 if it was given up, 400 if it is damaged,
                415 if it is packed in another way than with gzip or deflate.
        """
        if (request.content_length or 0) > self._max_request_bytes:
            raise self._too_large(request.content_length)
        connection = connection_of(request)
        with self._held() as held:
            with connection.reading() if connection else contextlib.nullcontext():
                body = await self._arrived(request, held)
            encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity")
            if encoding.lower() != "identity":
                body = await self._unpacked(body, encoding, held)
            yield body

    @contextlib.contextmanager
    def _held(self) -> Iterator[_Arriving]:
        """Gives bytes back, however the reading or the answering ends."""
        held = _Arriving()
        try:
            yield held
        finally:
            self._arriving.pop(held, None)
            self.num_bytes -= held.num_bytes

    @contextlib.contextmanager
    def hold(self, num_bytes: int) -> Iterator[None]:
        """Counts a body that another protocol has read, until the context ends.

        Raises:
            RequestError: 503 if there is no room for it.
        """
        if self.num_bytes + num_bytes > self._max_body_bytes:
            raise self._busy()
        with self._held() as held:
            self._count(held, num_bytes)
            yield

    def give_up_all(self) -> None:
        """Gives up every body that is still arriving."""
        for arriving in list(self._arriving):
            self._give_up(arriving)

    async def _arrived(self, request: web.Request, arriving: _Arriving) -> bytearray:
        body = bytearray()
        self._arriving[arriving] = None
        try:
            async with asyncio.timeout(self._timeout_s) as arriving.timer:
                while chunk := await request.content.readany():
                    if len(body) + len(chunk) > self._max_request_bytes:
                        raise self._too_large(len(body) + len(chunk))
                    await self._make_room(len(chunk))
                    self._count(arriving, len(chunk))
                    body += chunk
        except TimeoutError:
            late = RequestError(408, f"The body must arrive within {self._timeout_s:g} s.")
            raise (self._busy() if arriving.is_given_up else late) from None
        except (web.RequestPayloadError, ConnectionError) as error:
            raise RequestError(400, f"The body must be whole. Received: {error}") from error
        self._arriving.pop(arriving)
        return body

    async def _unpacked(self, body: bytearray, encoding: str, held: _Arriving) -> bytearray:
        """Unpacks beside the event loop, once there is room for as much as the body may grow to."""
        most_bytes = packed_body.most_unpacked_bytes(len(body), self._max_request_bytes)
        await self._make_room(most_bytes)
        self._count(held, most_bytes)
        unpacked = await asyncio.to_thread(packed_body.unpack, body, encoding, most_bytes)
        self._count(held, len(unpacked) - held.num_bytes)
        return unpacked

    def _count(self, held: _Arriving, num_bytes: int) -> None:
        self.num_bytes += num_bytes
        held.num_bytes += num_bytes

    async def _make_room(self, num_bytes: int) -> None:
        while self.num_bytes + num_bytes > self._max_body_bytes:
            waiting = [one for one in self._arriving if one.num_bytes and not one.is_given_up]
            given_up = [one for one in self._arriving if one.is_given_up]
            if not waiting and not given_up:
                raise self._busy()
            if not given_up:
                self._give_up(waiting[0])
            await asyncio.sleep(0)  # It gives its bytes back at its next turn; it may be this very body.

    def _give_up(self, arriving: _Arriving) -> None:
        if not arriving.is_given_up and arriving.timer:
            arriving.is_given_up = True
            arriving.timer.reschedule(asyncio.get_running_loop().time())

    def _busy(self) -> RequestError:
        return RequestError(503, "The server holds as many bytes of requests as it may.", retry_after_s=1)

    def _too_large(self, num_bytes: int | None) -> RequestError:
        return RequestError(413, f"A body must have at most {self._max_request_bytes} bytes. Received: {num_bytes}")
