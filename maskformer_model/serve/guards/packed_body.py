"""Unpacks a body that was sent with `Content-Encoding`, which TensorFlow Serving takes too, as far as it may grow."""

from __future__ import annotations

import zlib

from maskformer_model.serve.guards.request_error import RequestError

# Base64 of JPEG and PNG files packs to about three quarters of its size: what grows more holds no photos.
_GROWTH, _ALLOWANCE_BYTES = 8, 1 << 20
_ANY_WINDOW = 15
_GZIP, _RAW_DEFLATE = 16 + _ANY_WINDOW, -_ANY_WINDOW
_DEFLATE_METHOD = 8


def most_unpacked_bytes(packed_bytes: int, max_request_bytes: int) -> int:
    """Returns to how many bytes a packed body may grow."""
    return min(max_request_bytes, _GROWTH * packed_bytes + _ALLOWANCE_BYTES)


def unpack(body: bytes | bytearray, encoding: str, most_bytes: int) -> bytearray:
    """Unpacks a body.

    Args:
        body: As it arrived.
        encoding: The value of `Content-Encoding`.
        most_bytes: See `most_unpacked_bytes`.

    Raises:
        RequestError: 415 for another encoding than gzip and deflate, 400 if the body is damaged, 413 if it grows too
            much. No more than `most_bytes` are unpacked.
    """
    unpacker = zlib.decompressobj(_window(body, encoding))
    try:
        unpacked = bytearray(unpacker.decompress(body, most_bytes + 1))
    except zlib.error as error:
        raise RequestError(
            400, f"The body must be {encoding}, as `Content-Encoding` says. Received: {error}"
        ) from error
    if len(unpacked) > most_bytes:
        raise RequestError(413, f"A body of {len(body)} packed bytes must have at most {most_bytes} bytes unpacked.")
    if not unpacker.eof or unpacker.unused_data:
        raise RequestError(400, f"The body must be one whole stream of {encoding}.")
    return unpacked


def _window(body: bytes | bytearray, encoding: str) -> int:
    if encoding.lower() == "gzip":
        return _GZIP
    if encoding.lower() == "deflate":
        # Some clients leave out the header that RFC 9110 wants.
        has_header = body[:1] and body[0] & 0x0F == _DEFLATE_METHOD
        return _ANY_WINDOW if has_header else _RAW_DEFLATE
    raise RequestError(415, f"`Content-Encoding` must be gzip or deflate. Received: {encoding[:80]!r}")
