"""KServe's v2 protocol over gRPC: `inference.GRPCInferenceService`. What tensors mean is left to `tensors`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from grpc import aio

from maskformer_model.serve import rest
from maskformer_model.serve.guards.access import Access
from maskformer_model.serve.guards.bodies import Bodies
from maskformer_model.serve.guards.request_error import RequestError
from maskformer_model.serve.health import Health
from maskformer_model.serve.kserve import grpc_messages, tensors
from maskformer_model.serve.kserve.http import server_version
from maskformer_model.serve.kserve.tensors import InputTensor
from maskformer_model.serve.prediction import Prediction
from maskformer_model.serve.rest import BadRequestError
from maskformer_model.serve.settings import ServerSettings

_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_WITHOUT_TOKEN = ("ServerLive", "ServerReady")
_STREAMS_PER_CONNECTION = 16


class GrpcService:
    """The protocol's calls, and the server that answers them.

    Args:
        settings: Address, limits, certificate.
        prediction: Answers.
        bodies: Counts the bytes of requests.
        health: Says whether the server is ready.
        access: Checks the token; a browser cannot call gRPC, so there is no Origin.
    """

    def __init__(
        self, settings: ServerSettings, prediction: Prediction, bodies: Bodies, health: Health, access: Access
    ):
        self._settings = settings
        self._prediction = prediction
        self._bodies = bodies
        self._health = health
        self._access = access

    async def start(self) -> tuple[aio.Server, int]:
        """Starts to listen; returns the server and its port.

        Raises:
            RuntimeError: if gRPC cannot listen there; it does not say why.
        """
        idle_ms = int(1000 * max(1.0, self._settings.idle_timeout_s))
        server = aio.server(
            maximum_concurrent_rpcs=self._settings.max_queue,
            options=[
                ("grpc.max_receive_message_length", self._settings.max_request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION),
                ("grpc.max_connection_idle_ms", idle_ms),
                ("grpc.keepalive_time_ms", idle_ms),
                ("grpc.keepalive_timeout_ms", idle_ms),
                ("grpc.so_reuseport", 0),
            ],
        )
        calls = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server,
            "ModelMetadata": self._model,
            "ModelInfer": self._infer,
        }
        handlers = {name: self._handler(name, call) for name, call in calls.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(grpc_messages.SERVICE, handlers),))
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        address = f"{host}:{self._settings.grpc_port}"
        port = self._listen(server, address)
        await server.start()
        logging.info("gRPC at %s:%s", host, port)
        return server, port

    def _listen(self, server: aio.Server, address: str) -> int:
        if self._settings.certificate is None or self._settings.key is None:
            return server.add_insecure_port(address)
        with open(self._settings.key, "rb") as key, open(self._settings.certificate, "rb") as certificate:
            pair = key.read(), certificate.read()
        return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))

    def _handler(self, name: str, call: Callable[[Any, Any], Awaitable[None]]) -> grpc.RpcMethodHandler:
        request_class: Any = grpc_messages.message_class(f"{name}Request")
        response_class: Any = grpc_messages.message_class(f"{name}Response")

        async def answer(request: Any, context: aio.ServicerContext) -> Any:
            response = response_class()
            try:
                if name not in _WITHOUT_TOKEN:
                    sent = dict(context.invocation_metadata() or ()).get("authorization")
                    self._access.check_token(sent if isinstance(sent, str) else None)
                await call(request, response)
            except RequestError as error:
                retry = () if error.retry_after_s is None else (("retry-after", str(error.retry_after_s)),)
                await context.abort(_STATUS.get(error.status, grpc.StatusCode.INTERNAL), error.message, retry)
            except Exception:
                logging.exception("gRPC %s", name)
                await context.abort(grpc.StatusCode.INTERNAL, "The server failed; its log says why.")
            return response

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=request_class.FromString, response_serializer=response_class.SerializeToString
        )

    async def _live(self, request: Any, response: Any) -> None:
        response.live = True

    async def _ready(self, request: Any, response: Any) -> None:
        response.ready = not self._health.unready()

    async def _model_ready(self, request: Any, response: Any) -> None:
        self._prediction.require_model(request.name, request.version)
        response.ready = not self._health.unready()

    async def _server(self, request: Any, response: Any) -> None:
        response.name, response.version = tensors.SERVER_NAME, server_version()

    async def _model(self, request: Any, response: Any) -> None:
        self._prediction.require_model(request.name, request.version)
        ready = self._prediction.require_ready()
        facts = tensors.model_metadata(self._settings.name, self._prediction.version(), ready)
        response.name, response.platform = facts["name"], facts["platform"]
        response.versions.extend(facts["versions"])
        for name in ("inputs", "outputs"):
            for tensor in facts[name]:
                getattr(response, name).add(**tensor)

    async def _infer(self, request: Any, response: Any) -> None:
        with self._prediction.counted(), self._bodies.hold(request.ByteSize()):
            self._prediction.require_model(request.model_name, request.model_version)
            read = functools.partial(_read, request, self._settings.max_queue)
            asked = await self._prediction.off_loop(read, request.ByteSize())
            answers = await self._prediction.answer(asked)
            outputs = self._prediction.require_ready().outputs[asked.signature]
            response.model_name, response.model_version = self._settings.name, str(self._prediction.version())
            response.id = request.id
            wanted = [output.name for output in request.outputs]
            write = functools.partial(_write, response, outputs, answers, wanted)
            await self._prediction.off_loop(write, rest.num_bytes(answers))


def _read(request: Any, max_photos: int) -> rest.PredictRequest:
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise BadRequestError(f"`raw_input_contents` must have an entry for each input. Received: {len(raw)}")
    inputs = []
    for index, given in enumerate(request.inputs):
        if raw:
            values = tensors.read_raw(given.datatype, raw[index], max_photos)
        else:
            values = list(given.contents.bytes_contents if given.datatype == "BYTES" else given.contents.fp32_contents)
        inputs.append(InputTensor(given.name, given.datatype, tuple(given.shape), values))
    parameters = {
        name: getattr(one, one.WhichOneof("parameter_choice") or "string_param")
        for name, one in request.parameters.items()
    }
    return tensors.read_request(inputs, parameters, max_photos)


def _write(response: Any, outputs: Any, answers: Sequence[Any], wanted: list[str]) -> None:
    for tensor in tensors.output_tensors(outputs, answers, wanted):
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(tensor.raw())
