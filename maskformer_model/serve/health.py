"""Tells whether a server answers predictions, and whether its background work continues."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from maskformer_model.serve.background import BackgroundTask
from maskformer_model.serve.guards.request_error import RequestError
from maskformer_model.serve.served_model import ServedModel


class Health:
    """The answers of `/healthz` and `/livez`.

    Args:
        model: Ready means that its process answered a prediction and is still there.
        tasks: Work in the background. A server whose tasks fail still serves what it has, and says that it is behind.

    Attributes:
        is_stopping: Set when the server was told to stop; it is not ready from then on.
    """

    def __init__(self, model: ServedModel, tasks: Sequence[BackgroundTask]):
        self.is_stopping = False
        self._model = model
        self._tasks = tasks

    def unready(self) -> str:
        """Says why a prediction would not be answered; empty if it would."""
        return "The server is stopping." if self.is_stopping else self._model.unready()

    def behind(self) -> list[str]:
        """Says which tasks fail, since when and why, and why a newer version does not serve."""
        texts = [*(task.behind() for task in self._tasks), self._model.behind()]
        return [text for text in texts if text]

    async def show(self, request: web.Request) -> web.Response:
        """Answers 200 if a prediction would be answered, else 503."""
        if self.unready():
            raise RequestError(503, " ".join([self.unready(), *self.behind()]), retry_after_s=5)
        return web.Response(text="".join(f"{line}\n" for line in ["ok", *self.behind()]))

    async def show_life(self, request: web.Request) -> web.Response:
        """Answers 200: whoever reads it knows that the program works."""
        return web.Response(text="ok\n")
