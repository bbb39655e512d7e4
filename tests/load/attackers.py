"""Callers who mean no good, for `python -m tests.load`: slow bodies, half bodies, headers that lie, idle connections.

    python -m tests.load.attackers --port PORT --seconds 60 --clients 20

Each client does one of these again and again until the time is over, with the server on this machine. Nothing that they
are answered counts; what counts is that the good callers beside them notice nothing. Needs Python alone, and Pillow.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import functools
import io
import itertools
import json
import struct
import sys
import zlib

from PIL import Image

_HEAD = b"POST /v1/models/maskformer:predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
_HALF_BODY_BYTES = 20_000_000
_IDLE_CONNECTIONS = 40
_PAUSE_S = 0.2


def lying_photos() -> list[bytes]:
    """A JPEG and a PNG of 16 x 16 px whose headers claim 7,000 x 7,000."""
    files = [io.BytesIO(), io.BytesIO()]
    for file, image_format in zip(files, ("JPEG", "PNG"), strict=True):
        Image.new("RGB", (16, 16), "gray").save(file, image_format)
    jpeg, png = (bytearray(file.getvalue()) for file in files)
    at = jpeg.find(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 7000, 7000)
    png[16:24] = struct.pack(">II", 7000, 7000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    return [bytes(jpeg), bytes(png)]


async def slow_body(port: int) -> None:
    """Sends a byte a second, and never the last one."""
    async with _connected(port, _HEAD + b"Transfer-Encoding: chunked\r\n\r\n") as writer:
        while True:
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await asyncio.sleep(1.0)


async def half_body(port: int) -> None:
    """Sends most of a large body at once, and waits."""
    async with _connected(port, _HEAD + b"Content-Length: 30000000\r\n\r\n") as writer:
        writer.write(b'{"instances": [{"b64": "' + b"A" * _HALF_BODY_BYTES)
        await writer.drain()
        await asyncio.sleep(60.0)


@functools.cache
def lies_to_tell() -> tuple[bytes, ...]:
    """Promises of more than is sent, claims of more than there is, another host, much packed into little.

    Made once: what it costs to make them is to be the attackers' and not the machine's that the server runs on.
    """
    bodies = [
        json.dumps({"instances": [{"b64": base64.b64encode(photo).decode()}]}).encode() for photo in lying_photos()
    ]
    packed = zlib.compress(b" " * 100_000_000)
    requests = [_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]
    requests += [
        _HEAD + b"Content-Length: 99999999999\r\n\r\n",
        _HEAD + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed,
        _HEAD.replace(b"127.0.0.1", b"evil.example") + b"Content-Length: 2\r\n\r\n{}",
        _HEAD + b'Content-Length: 1700015\r\n\r\n{"instances":[' + b"{}," * 566_667,
        b"\x16\x03\x01" * 1000,
    ]
    return tuple(requests)


async def lies(port: int) -> None:
    """Tells one lie after the other."""
    for request in lies_to_tell():
        async with _connected(port, request):
            await asyncio.sleep(_PAUSE_S)


async def idle(port: int) -> None:
    """Opens many connections and says nothing, or half a line."""
    async with contextlib.AsyncExitStack() as stack:
        for number in range(_IDLE_CONNECTIONS):
            await stack.enter_async_context(_connected(port, b"GET /hea" if number % 2 else b""))
        await asyncio.sleep(20.0)


KINDS = (slow_body, half_body, lies, idle)


async def attack(port: int, seconds: float, clients: int) -> dict[str, int]:
    """Runs that many clients for so long; returns how often each kind started again."""
    counts = dict.fromkeys((kind.__name__ for kind in KINDS), 0)

    async def again_and_again(kind):
        while True:
            counts[kind.__name__] += 1
            with contextlib.suppress(OSError):  # The server sends them away.
                await kind(port)
            await asyncio.sleep(_PAUSE_S)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for kind in itertools.islice(itertools.cycle(KINDS), clients):
                group.create_task(again_and_again(kind))
    return counts


@contextlib.asynccontextmanager
async def _connected(port: int, first: bytes):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(first)
        await writer.drain()
        yield writer
    finally:
        writer.transport.abort()


def main() -> int:
    """Returns 0; prints how often each kind began."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.attackers", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--clients", type=int, default=20)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(attack(args.port, args.seconds, args.clients))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
