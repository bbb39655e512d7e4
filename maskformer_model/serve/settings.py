"""The settings of a server: one frozen value, checked when it is made. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re

_POSITIVE = (
    "max_batch",
    "max_queue",
    "max_request_bytes",
    "max_body_bytes",
    "max_connections",
    "timeout_s",
    "body_timeout_s",
    "idle_timeout_s",
    "poll_s",
    "grace_s",
)
_MAX_PORT = 65535
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """The settings of a server.

    Attributes:
        model_dir: A SavedModel, or a folder of pushed versions, of which the newest is served.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        grpc_port: Port for gRPC; None: gRPC is not served, 0 takes a free one.
        name: What the model is called in paths.
        max_batch: Most photos that go to the model in one call.
        batch_wait_s: How long the first photo of a batch waits for others.
        max_queue: Most photos that wait; a request beyond that is answered 503.
        max_request_bytes: A larger request is answered 413.
        max_body_bytes: Most bytes of all requests that are being read or answered; beyond that, the body that has been
            arriving for longest is given up, with 503.
        max_connections: Most open connections; beyond that, the one that has kept the server waiting for longest is
            closed.
        max_pixels: A larger photo is refused before the model sees it; 0 takes what fits the memory
            (`memory.max_pixels_for_memory`).
        timeout_s: A request that takes longer, waiting included, is answered 504; a model that takes longer over one
            batch is restarted.
        body_timeout_s: A body that takes longer to arrive is answered 408.
        idle_timeout_s: A connection is closed that sends no whole request head for so long.
        poll_s: How often the folder is looked at for a newer version.
        grace_s: How long requests in flight may take once the server is asked to stop.
        allowed_hosts: Names that requests may be addressed to, beside IP addresses, localhost and `host`; "*": any.
        token_file: A file with the token that callers must send; None: no token is asked for.
        certificate: A PEM file with the certificate chain for TLS; None: no TLS.
        key: A PEM file with the certificate's key.

    Raises:
        ValueError: if a value is out of its range.
    """

    model_dir: str
    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int | None = None
    name: str = "maskformer"
    max_batch: int = 8
    batch_wait_s: float = 0.002
    max_queue: int = 64
    max_request_bytes: int = 32 << 20
    max_body_bytes: int = 256 << 20
    max_connections: int = 512
    max_pixels: int = 0
    timeout_s: float = 60.0
    body_timeout_s: float = 30.0
    idle_timeout_s: float = 15.0
    poll_s: float = 2.0
    grace_s: float = 30.0
    allowed_hosts: tuple[str, ...] = ()
    token_file: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self):
        for name in _POSITIVE:
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` must be positive. Received: {getattr(self, name)}")
        for name in ("batch_wait_s", "max_pixels"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` must not be negative. Received: {getattr(self, name)}")
        for name in ("port", "grpc_port"):
            if not 0 <= (getattr(self, name) or 0) <= _MAX_PORT:
                raise ValueError(f"`{name}` must be in 0..{_MAX_PORT}. Received: {getattr(self, name)}")
        if not self.name or re.search(r"[/:?#%\s]", self.name):
            raise ValueError(f"`name` must be a word without '/', ':', '?', '#' and '%'. Received: {self.name!r}")
        if self.max_body_bytes < self.max_request_bytes:
            received = f"{self.max_body_bytes} and {self.max_request_bytes}"
            raise ValueError(f"`max_body_bytes` must hold a request of `max_request_bytes`. Received: {received}")
        if (self.certificate is None) != (self.key is None):
            received = f"{self.certificate} and {self.key}"
            raise ValueError(f"`certificate` and `key` are given together or not at all. Received: {received}")

    def require_model_dir(self) -> None:
        """Checks that there is a folder to serve from.

        Raises:
            ValueError: if there is none.
        """
        if not os.path.isdir(self.model_dir):
            found = "a file" if os.path.exists(self.model_dir) else "nothing"
            raise ValueError(
                f"`model` must be a SavedModel or a folder of versions. Found {found} at: {self.model_dir}. "
                "Export a model, or make an empty folder and push to it."
            )

    def read_token(self) -> str | None:
        """Returns what `token_file` holds, without white space around it; None without one.

        Raises:
            ValueError: if the file cannot be read, or holds no token.
        """
        if self.token_file is None:
            return None
        try:
            token = pathlib.Path(self.token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"`token_file` must be a file of ASCII. Received {self.token_file}: {error}") from error
        if not _TOKEN.fullmatch(token):
            raise ValueError(f"`token_file` must hold one word of 1 to 4096 characters. Received: {self.token_file}")
        return token
