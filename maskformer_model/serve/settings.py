"""What a server is told: one frozen value, checked at birth. Imports nothing heavy."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Everything about one server.

    Attributes:
        model_dir: A SavedModel, or a folder of pushed versions, of which the newest is served.
        name: What the model is called in paths.
        max_batch: Most photos that go to the model in one call.
        batch_wait_s: How long the first photo of a batch waits for others.
        max_queue: Most photos that wait; a request beyond that is answered 503.
        max_request_bytes: A larger request is answered 413.
        max_pixels: A larger photo is refused before the model sees it; 0 leaves it to the model's own limit.
        timeout_s: A request that takes longer, waiting included, is answered 504; a model that takes longer over one
            batch is started anew.
        poll_s: How often the folder is looked at for a newer version.

    Raises:
        ValueError: if a value is out of its range.
    """

    model_dir: str
    name: str = "maskformer"
    max_batch: int = 8
    batch_wait_s: float = 0.002
    max_queue: int = 64
    max_request_bytes: int = 32 << 20
    max_pixels: int = 0
    timeout_s: float = 60.0
    poll_s: float = 2.0

    def __post_init__(self):
        for name in ("max_batch", "max_queue", "max_request_bytes", "timeout_s", "poll_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be positive. Received: {getattr(self, name)}")
        for name in ("batch_wait_s", "max_pixels"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative. Received: {getattr(self, name)}")
        if not self.name or "/" in self.name or ":" in self.name:
            raise ValueError(f"`name` must be a word without '/' and ':'. Received: {self.name!r}")
