"""A client that says what it likes over a socket, in what pieces it likes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

HEAD = b"POST /v1/models/maskformer:predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@contextlib.contextmanager
def connected(port: int, *pieces: bytes) -> Iterator[socket.socket]:
    """A connection on which the pieces were sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for piece in pieces:
            connection.sendall(piece)
        yield connection


def answer_of(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection; nothing where it was cut."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


def status_of(connection: socket.socket) -> int:
    """The status of the answer; 0 where there is none."""
    received = answer_of(connection)
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.1 ") else 0
