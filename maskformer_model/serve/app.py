"""The HTTP side: TensorFlow Serving's paths, health, metrics, and one page for people.

| path                                        | answer                                                             |
|---------------------------------------------|--------------------------------------------------------------------|
| `GET /`                                     | a page: drop a photo, see its segments                             |
| `POST /v1/models/NAME[/versions/V]:predict` | predictions; 400 bad photo or request, 404 no such model,          |
|                                             | 413 too large, 503 busy or not loaded (with Retry-After), 504 late |
| `GET /v1/models/NAME[/versions/V]`          | versions and their states                                          |
| `GET /v1/models/NAME/metadata`              | signatures, thresholds, preprocessing, categories                  |
| `GET /healthz`                              | 200 when a model is ready, else 503                                |
| `GET /metrics`                              | Prometheus's text form                                             |
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from maskformer_model.serve import prometheus as metrics_lib
from maskformer_model.serve import rest
from maskformer_model.serve.batching import Batcher, OverloadError
from maskformer_model.serve.model_process import PHOTO_SIGNATURES, Refused
from maskformer_model.serve.served_model import ModelUnavailableError, ServedModel
from maskformer_model.serve.settings import ServerSettings

PAGE = pathlib.Path(__file__).parent / "page.html"
# The page is one file and asks nobody else for anything.
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:; connect-src 'self'"
)


class Server:
    """One model behind HTTP."""

    def __init__(self, settings: ServerSettings):
        self.settings = settings
        self.model = ServedModel(settings.model_dir, settings.timeout_s)
        self.metrics = metrics_lib.Metrics()
        self.batcher = Batcher(
            self.model.answer,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
            wait_s=settings.batch_wait_s,
            on_batch=self._observe_batch,
        )
        watch = self.metrics.watch
        watch("maskformer_queue_photos", "gauge", "Photos that wait.", lambda: len(self.batcher))
        watch("maskformer_model_version", "gauge", "The version that serves; 0 before one is loaded.", self._version)
        restarts = "Times that the model's process was started anew."
        watch("maskformer_process_restarts_total", "counter", restarts, lambda: self.model.restarts)
        switches = "Times that another version took over."
        watch("maskformer_version_switches_total", "counter", switches, lambda: self.model.switches)

    def app(self) -> web.Application:
        """The application; its model is loaded while it already answers that it is not ready."""
        # Base64 is a third larger than the file.
        app = web.Application(client_max_size=self.settings.max_request_bytes, middlewares=[_errors_as_json])
        name = self.settings.name
        app.add_routes(
            [
                web.get("/", self.page),
                web.get("/healthz", self.health),
                web.get("/metrics", self.show_metrics),
                web.get("/v1/models/{name}", self.status),
                web.get("/v1/models/{name}/metadata", self.metadata),
                web.get(r"/v1/models/{name}/versions/{version:\d+}", self.status),
                web.post(r"/v1/models/{name:[^/:]+}:predict", self.predict),
                web.post(r"/v1/models/{name}/versions/{version:\d+}:predict", self.predict),
            ]
        )
        app.cleanup_ctx.append(self._background)
        logging.info("Model %s at /v1/models/%s:predict", self.settings.model_dir, name)
        return app

    async def _background(self, app: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.batcher.run()), asyncio.create_task(self._follow_versions())]
        yield
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.model.close()

    async def _follow_versions(self) -> None:
        while True:
            await self.model.refresh()
            await asyncio.sleep(self.settings.poll_s)

    def _observe_batch(self, photos: int, seconds: float) -> None:
        self.metrics.batch_photos.observe(photos)
        self.metrics.batch_seconds.observe(seconds)

    def _version(self) -> int:
        return self.model.current.version if self.model.current else 0

    async def predict(self, request: web.Request) -> web.Response:
        """Answers a prediction and counts how."""
        start_s = time.monotonic()
        try:
            response = await self._predict(request)
        except web.HTTPException as error:
            self.metrics.count_request(error.status)
            raise
        except Exception:
            self.metrics.count_request(500)
            raise
        self.metrics.count_request(response.status)
        self.metrics.request_seconds.observe(time.monotonic() - start_s)
        return response

    async def _predict(self, request: web.Request) -> web.Response:
        self._require_model(request)
        try:
            asked = rest.read_request(await request.read())
            if asked.signature not in PHOTO_SIGNATURES:
                raise rest.BadRequestError(
                    f"`signature_name` must be one of {list(PHOTO_SIGNATURES)}. Received: {asked.signature!r}"
                )
            if len(asked.photos) > self.settings.max_queue:
                raise rest.BadRequestError(
                    f"A request must have at most {self.settings.max_queue} photos. Received: {len(asked.photos)}"
                )
            if self.settings.max_pixels:
                rest.require_size(asked.photos, self.settings.max_pixels)
        except rest.BadRequestError as error:
            return _error(400, str(error))
        process = self.model.current
        if process and process.ready and asked.signature not in process.ready.signatures:
            return _error(400, f"The model has no signature {asked.signature!r}, but {list(process.ready.signatures)}.")
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                answers = await self.batcher.submit(asked.signature, asked.photos, asked.scalars)
        except OverloadError as error:
            return _error(503, str(error), retry_after_s=error.retry_after_s)
        except ModelUnavailableError as error:
            return _error(503, str(error), retry_after_s=5)
        except TimeoutError:
            return _error(504, f"No answer within {self.settings.timeout_s:g} s.")
        for index, answer in enumerate(answers):
            if isinstance(answer, Refused):
                # The model knows only the photo's place in its own batch.
                rule = answer.reason.partition("] ")[2] or answer.reason
                return _error(400, f"`{rest.PHOTO_INPUT}[{index}]` {rule}")
        return web.json_response(rest.answer_document(answers, asked.by_row))

    def _require_model(self, request: web.Request) -> None:
        name, version = request.match_info["name"], request.match_info.get("version")
        if name != self.settings.name:
            raise web.HTTPNotFound(text=f"There is no model {name!r} here, but {self.settings.name!r}.")
        if version and int(version) != self._version():
            raise web.HTTPNotFound(text=f"Version {version} is not served, but {self._version()}.")

    async def status(self, request: web.Request) -> web.Response:
        """States of versions, in TensorFlow Serving's form."""
        if request.match_info["name"] != self.settings.name:
            self._require_model(request)
        wanted = request.match_info.get("version")
        states = {str(version): state for version, state in self.model.states.items()}
        if wanted and wanted not in states:
            raise web.HTTPNotFound(text=f"There is no version {wanted}.")
        rows = [
            {
                "version": version,
                "state": state.state,
                "status": {"error_code": "UNKNOWN" if state.error else "OK", "error_message": state.error},
            }
            for version, state in sorted(states.items(), key=lambda item: -int(item[0]))
            if wanted in (None, version)
        ]
        return web.json_response({"model_version_status": rows})

    async def metadata(self, request: web.Request) -> web.Response:
        """What the numbers mean."""
        self._require_model(request)
        process = self.model.current
        if process is None or process.ready is None:
            return _error(503, "No version of the model is loaded yet.", retry_after_s=5)
        spec = {"name": self.settings.name, "version": str(process.version)}
        ready = process.ready
        facts = {"signatures": ready.signatures, "serving": ready.facts, "categories": ready.categories}
        return web.json_response({"model_spec": spec, "metadata": facts})

    async def health(self, request: web.Request) -> web.Response:
        """Whether a prediction would be answered."""
        return web.Response(text="ok\n") if self.model.current else _error(503, "The model is loading.", 5)

    async def show_metrics(self, request: web.Request) -> web.Response:
        """Prometheus's text form."""
        return web.Response(text=self.metrics.text(), headers={"Content-Type": metrics_lib.CONTENT_TYPE})

    async def page(self, request: web.Request) -> web.Response:
        """The page, told which model to ask."""
        text = PAGE.read_text(encoding="utf-8").replace("MODEL_NAME", self.settings.name)
        headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
        return web.Response(text=text, content_type="text/html", headers=headers)


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        text = error.text or error.reason
        return _error(error.status, text)
    except Exception:
        logging.exception("%s %s", request.method, request.path)
        return _error(500, "The server failed; its log says why.")


def _error(status: int, message: str, retry_after_s: int | None = None) -> web.Response:
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return web.json_response({"error": message}, status=status, headers=headers)
