"""Defines the error of a refused request, the same for every protocol."""

from __future__ import annotations


class RequestError(RuntimeError):
    """A request that is not answered.

    Attributes:
        status: HTTP's number for it.
        message: What must be so, and what was received.
        retry_after_s: When to come back; None where that is no use.
    """

    def __init__(self, status: int, message: str, retry_after_s: int | None = None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s
