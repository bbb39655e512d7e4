"""Limits open connections, and sets deadlines for those that keep the server waiting.

aiohttp's handler of a connection is wrapped. While the server works on a request, its connection is left alone. While
the server waits for the client (for a request's head, for a body, for an answer to be taken), it may be closed: when it
is over its time, or when a new connection comes, there is no room, and no other has kept the server waiting for longer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from aiohttp import web


class Connection(asyncio.Protocol):
    """A connection.

    Attributes:
        waits_since_s: Since when the server has been waiting for the client, by the loop's clock; None while it works.
        is_in_request: Whether a request's head is here and its answer is not made.
    """

    def __init__(self, inner: asyncio.Protocol, all_of_them: Connections):
        self.waits_since_s: float | None = None
        self.is_in_request = False
        self._inner = inner
        self._all = all_of_them
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`; likewise the others."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._inner.connection_made(transport)
        self._all.add(self)
        self._wait_for_client()

    def connection_lost(self, exc: Exception | None) -> None:
        """Handles a client that is gone or was sent away."""
        self._stop_timer()
        self._transport = None
        self._all.remove(self)
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Handles a client that sends no more."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Handles a client that takes an answer slowly."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Handles a client that has taken it."""
        self._inner.resume_writing()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Marks the time in which a request is worked on, from its whole head to its answer."""
        self._stop_timer()
        self.waits_since_s, self.is_in_request = None, True
        try:
            yield
        finally:
            self.is_in_request = False
            self._wait_for_client()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Marks the time in which a request's body is read; that has a deadline of its own."""
        self.waits_since_s = self._loop.time()
        try:
            yield
        finally:
            self.waits_since_s = None

    def abort(self) -> None:
        """Ends the connection without another word."""
        if self._transport:
            self._transport.abort()

    def _wait_for_client(self) -> None:
        if self._transport is None:
            return
        self.waits_since_s = self._loop.time()
        self._unsent = 0
        self._timer = self._loop.call_later(self._all.idle_timeout_s, self._out_of_time)

    def _out_of_time(self) -> None:
        """Ends a connection whose client takes nothing of an answer; a slow client that takes some may continue."""
        if self._transport is None:
            return
        unsent = self._transport.get_write_buffer_size()
        if unsent and (not self._unsent or unsent < self._unsent):
            self._unsent = unsent
            self._timer = self._loop.call_later(self._all.idle_timeout_s, self._out_of_time)
        else:
            self.abort()

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def has_unsent(self) -> bool:
        """Returns whether a part of an answer has not been taken yet."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0


class Connections:
    """The connections of a server; makes a protocol for each.

    Args:
        inner: Makes aiohttp's handler of a connection.
        max_connections: Most at a time.
        idle_timeout_s: How long a client may keep the server waiting.

    Attributes:
        closed: How many were closed to make room.
    """

    def __init__(self, inner: Callable[[], asyncio.Protocol], *, max_connections: int, idle_timeout_s: float):
        self.idle_timeout_s = idle_timeout_s
        self.closed = 0
        self._inner = inner
        self._max = max_connections
        self._open: dict[Connection, None] = {}

    def __call__(self) -> Connection:
        return Connection(self._inner(), self)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Connection) -> None:
        """Notes a new connection, and closes another if there are too many; the new one if all others are at work."""
        self._open[connection] = None
        if len(self._open) > self._max:
            waiting = [one for one in self._open if one.waits_since_s is not None]
            victim = min(waiting, key=lambda one: one.waits_since_s or 0.0, default=connection)
            self.closed += 1
            self._open.pop(victim)
            victim.abort()

    def remove(self, connection: Connection) -> None:
        """Notes that a connection is gone."""
        self._open.pop(connection, None)

    def num_busy(self) -> int:
        """Counts those with a request that is not answered, or an answer that is not taken."""
        return sum(one.is_in_request or one.has_unsent() for one in self._open)


def connection_of(request: web.Request) -> Connection | None:
    """Returns the connection that a request came on; None where it is none of these, as in a test client."""
    protocol = request.transport.get_protocol() if request.transport else None
    return protocol if isinstance(protocol, Connection) else None
