"""Answers over HTTP: TensorFlow Serving's and KServe's paths, health, metrics, and one page for people.

| path                                        | answer                                                                 |
|---------------------------------------------|------------------------------------------------------------------------|
| `GET /`                                     | a page: drop a photo, see its segments                                 |
| `POST /v1/models/NAME[/versions/V]:predict` | predictions; 400 bad photo or request, 401 no token, 403 wrong Host or |
|                                             | Origin, 404 no such model, 408 body late, 413 too large,               |
|                                             | 503 busy or not loaded (with Retry-After), 504 answer late             |
| `GET /v1/models/NAME[/versions/V]`          | versions and their states                                              |
| `GET /v1/models/NAME/metadata`              | signatures, thresholds, preprocessing, categories                      |
| `/v2/...`                                   | KServe's protocol, see `kserve`                                        |
| `GET /healthz`                              | 200 when the model's process answers predictions, else 503             |
| `GET /livez`                                | 200 while this program works                                           |
| `GET /metrics`                              | Prometheus's text form                                                 |
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from maskformer_model.backend.memory import memory_bytes
from maskformer_model.serve import prometheus as metrics_lib
from maskformer_model.serve import rest
from maskformer_model.serve.background import BackgroundTask
from maskformer_model.serve.guards import memory
from maskformer_model.serve.guards.access import SECURITY_HEADERS, Access
from maskformer_model.serve.guards.bodies import Bodies
from maskformer_model.serve.guards.connections import connection_of
from maskformer_model.serve.guards.request_error import RequestError
from maskformer_model.serve.health import Health
from maskformer_model.serve.kserve.http import KServe
from maskformer_model.serve.model_process import TRIAL
from maskformer_model.serve.prediction import Prediction
from maskformer_model.serve.served_model import ServedModel
from maskformer_model.serve.settings import ServerSettings

PAGE = pathlib.Path(__file__).parent / "page.html"
# The page is one file and asks nobody else for anything, and no other page shows it.
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
# Anybody may ask these: they say nothing of the model, and what asks for health has no token.
_WITHOUT_TOKEN = ("/", "/healthz", "/livez", "/v2/health/live", "/v2/health/ready")


class Server:
    """A model behind HTTP.

    Attributes:
        bodies: What arrives.
        prediction: What answers.
        health: Whether it does.
    """

    def __init__(self, settings: ServerSettings):
        if not settings.max_pixels:
            fits = memory.max_pixels_for_memory(memory_bytes())
            settings = dataclasses.replace(settings, max_pixels=fits)
        self.settings = settings
        self.model = ServedModel(settings.model_dir, settings.timeout_s, probe=TRIAL)
        self.metrics = metrics_lib.Metrics()
        self.prediction = Prediction(settings, self.model, self.metrics)
        self.bodies = Bodies(
            max_request_bytes=settings.max_request_bytes,
            max_body_bytes=settings.max_body_bytes,
            timeout_s=settings.body_timeout_s,
        )
        self.access = Access((*settings.allowed_hosts, settings.host), settings.read_token())
        self._following = BackgroundTask("Looking for versions", self.model.refresh, settings.poll_s)
        self.health = Health(self.model, [self._following, self.prediction.batcher.task])
        self._watch()

    def app(self) -> web.Application:
        """Returns the application; its model is loaded while it already answers that it is not ready."""
        app = web.Application(middlewares=[self._guard])
        name = self.settings.name
        app.add_routes(
            [
                web.get("/", self.page),
                web.get("/healthz", self.health.show),
                web.get("/livez", self.health.show_life),
                web.get("/metrics", self.show_metrics),
                web.get("/v1/models/{name}", self.status),
                web.get("/v1/models/{name}/metadata", self.metadata),
                web.get(r"/v1/models/{name}/versions/{version:\d+}", self.status),
                web.post(r"/v1/models/{name:[^/:]+}:predict", self.predict),
                web.post(r"/v1/models/{name}/versions/{version:\d+}:predict", self.predict),
                *KServe(name, self.settings.max_queue, self.prediction, self.bodies, self.health).routes(),
            ]
        )
        app.cleanup_ctx.append(self._background)
        logging.info("Model %s at /v1/models/%s:predict", self.settings.model_dir, name)
        logging.info("Photos of up to %s pixels", self.settings.max_pixels)
        return app

    async def _background(self, app: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.prediction.batcher.run()), asyncio.create_task(self._following.run())]
        yield
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.model.close()
        self.prediction.close()

    def _watch(self) -> None:
        watch = self.metrics.watch
        watch("maskformer_queue_photos", "gauge", "Photos that wait.", lambda: len(self.prediction.batcher))
        version = "The version that serves; 0 before one is loaded."
        watch("maskformer_model_version", "gauge", version, self.prediction.version)
        ready = "1 while the model's process answers predictions."
        watch("maskformer_ready", "gauge", ready, lambda: float(not self.health.unready()))
        in_flight = "Prediction requests that are not answered."
        watch("maskformer_in_flight", "gauge", in_flight, lambda: self.metrics.in_flight)
        behind = "Background tasks whose last try failed, and 1 if a newer version cannot be loaded."
        watch("maskformer_behind", "gauge", behind, lambda: len(self.health.behind()))
        watch("maskformer_body_bytes", "gauge", "Bytes of requests that are held.", lambda: self.bodies.num_bytes)
        restarts = "Times that the model's process was restarted."
        watch("maskformer_process_restarts_total", "counter", restarts, lambda: self.model.restarts)
        switches = "Times that another version took over."
        watch("maskformer_version_switches_total", "counter", switches, lambda: self.model.switches)

    async def predict(self, request: web.Request) -> web.Response:
        """Answers a prediction and counts how."""
        with self.prediction.counted():
            self.prediction.require_model(request.match_info["name"], request.match_info.get("version"))
            async with self.bodies.read(request) as body:
                read = functools.partial(rest.read_request, body, self.settings.max_queue)
                asked = await self.prediction.off_loop(read, len(body))
                body.clear()  # The photos are in `asked`.
                answers = await self.prediction.answer(asked)
            write = functools.partial(rest.write_answer, answers, asked.by_row)
            document = await self.prediction.off_loop(write, rest.num_bytes(answers))
            return web.Response(body=document, content_type="application/json")

    async def status(self, request: web.Request) -> web.Response:
        """Shows the states of versions, in TensorFlow Serving's form."""
        self.prediction.require_model(request.match_info["name"], None)
        wanted = request.match_info.get("version")
        states = {str(version): state for version, state in self.model.states.items()}
        if wanted and wanted not in states:
            raise RequestError(404, f"There is no version {wanted}.")
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
        """Shows what the numbers mean."""
        self.prediction.require_model(request.match_info["name"], None)
        ready = self.prediction.require_ready()
        spec = {"name": self.settings.name, "version": str(self.prediction.version())}
        facts = {"signatures": ready.signatures, "serving": ready.facts, "categories": ready.categories}
        return web.json_response({"model_spec": spec, "metadata": facts})

    async def show_metrics(self, request: web.Request) -> web.Response:
        """Shows Prometheus's text form."""
        return web.Response(text=self.metrics.text(), headers={"Content-Type": metrics_lib.CONTENT_TYPE})

    async def page(self, request: web.Request) -> web.Response:
        """Shows the page, told which model to ask."""
        text = PAGE.read_text(encoding="utf-8").replace("MODEL_NAME", self.settings.name)
        headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Checks who asks, and turns every failure into an answer."""
        connection = connection_of(request)
        with connection.working() if connection else contextlib.nullcontext():
            try:
                self.access.check_source(request.headers)
                if request.path not in _WITHOUT_TOKEN:
                    self.access.check_token(request.headers.get("Authorization"))
                response = await handler(request)
            except RequestError as error:
                response = _error(error)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                response = _error(RequestError(error.status, error.text or error.reason))
            except Exception:
                logging.exception("%s %s", request.method, request.path)
                response = _error(RequestError(500, "The server failed; its log says why."))
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def _error(error: RequestError) -> web.Response:
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response({"error": error.message}, status=error.status, headers=headers)
