"""KServe's v2 protocol over HTTP, with the extension for raw bytes after the JSON.

| path                                          | answer                                                   |
|-----------------------------------------------|----------------------------------------------------------|
| `GET /v2`                                     | the server's name and extensions                         |
| `GET /v2/health/live`, `/v2/health/ready`     | 200 or 503                                               |
| `GET /v2/models/NAME[/versions/V]`            | inputs and outputs                                       |
| `GET /v2/models/NAME[/versions/V]/ready`      | 200 or 503                                               |
| `POST /v2/models/NAME[/versions/V]/infer`     | predictions                                              |

In JSON a photo is base64, and so is an output whose name ends in `_bytes`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
from typing import Any

from aiohttp import web

from maskformer_model.serve import rest
from maskformer_model.serve.guards.bodies import Bodies
from maskformer_model.serve.health import Health
from maskformer_model.serve.kserve import tensors
from maskformer_model.serve.kserve.tensors import InputTensor, OutputTensor
from maskformer_model.serve.prediction import Prediction
from maskformer_model.serve.rest import BadRequestError, shown

_HEADER_LENGTH = "Inference-Header-Content-Length"
_MOST_TENSORS = 32
EXTENSIONS = ("binary_tensor_data",)


def server_version() -> str:
    """Returns the version of this package; of a checkout that is not installed, none."""
    try:
        return importlib.metadata.version("maskformer-tfx")
    except importlib.metadata.PackageNotFoundError:
        return ""


class KServe:
    """The protocol's paths.

    Args:
        name: The model's.
        max_photos: Most photos of a request.
        prediction: Answers.
        bodies: Reads.
        health: Says whether the server is ready.
    """

    def __init__(self, name: str, max_photos: int, prediction: Prediction, bodies: Bodies, health: Health):
        self._name = name
        self._max_photos = max_photos
        self._prediction = prediction
        self._bodies = bodies
        self._health = health

    def routes(self) -> list[web.RouteDef]:
        """Returns the paths."""
        routes = [
            web.get("/v2", self.server),
            web.get("/v2/health/live", self.live),
            web.get("/v2/health/ready", self.ready),
        ]
        for path in ("/v2/models/{name}", r"/v2/models/{name}/versions/{version:\d+}"):
            routes += [
                web.get(path, self.model),
                web.get(f"{path}/ready", self.ready),
                web.post(f"{path}/infer", self.infer),
            ]
        return routes

    async def server(self, request: web.Request) -> web.Response:
        """Shows the server's name."""
        facts = {"name": tensors.SERVER_NAME, "version": server_version(), "extensions": EXTENSIONS}
        return web.json_response(facts)

    async def live(self, request: web.Request) -> web.Response:
        """Answers 200: whoever reads it knows that the program works."""
        return web.json_response({"live": True})

    async def ready(self, request: web.Request) -> web.Response:
        """Answers 200 if a prediction would be answered, else 503."""
        if "name" in request.match_info:
            self._prediction.require_model(request.match_info["name"], request.match_info.get("version"))
        await self._health.show(request)
        return web.json_response({"ready": True})

    async def model(self, request: web.Request) -> web.Response:
        """Shows the model's inputs and outputs."""
        self._prediction.require_model(request.match_info["name"], request.match_info.get("version"))
        ready = self._prediction.require_ready()
        return web.json_response(tensors.model_metadata(self._name, self._prediction.version(), ready))

    async def infer(self, request: web.Request) -> web.Response:
        """Answers a prediction and counts how."""
        off_loop = self._prediction.off_loop
        with self._prediction.counted():
            self._prediction.require_model(request.match_info["name"], request.match_info.get("version"))
            async with self._bodies.read(request) as body:
                header_length = request.headers.get(_HEADER_LENGTH)
                read = functools.partial(_read, body, header_length, self._max_photos)
                asked, wanted = await off_loop(read, len(body))
                body.clear()  # The photos are in `asked`.
                answers = await self._prediction.answer(asked)
            outputs = self._prediction.require_ready().outputs[asked.signature]
            facts = {"model_name": self._name, "model_version": str(self._prediction.version())}
            write = functools.partial(_write, facts, wanted, outputs, answers)
            document, raw = await off_loop(write, rest.num_bytes(answers))
        if not raw:
            return web.Response(body=document, content_type="application/json")
        headers = {_HEADER_LENGTH: str(len(document))}
        return web.Response(body=document + raw, content_type="application/octet-stream", headers=headers)


class _Wanted:
    """The id of a request, and which outputs it wants in which form."""

    def __init__(self, document: dict[str, Any], parameters: dict[str, Any]):
        self.id = document.get("id", "")
        outputs = document.get("outputs") or []
        if not isinstance(self.id, str) or not isinstance(outputs, list) or len(outputs) > _MOST_TENSORS:
            raise BadRequestError("`id` must be text, and `outputs` a list of what is wanted.")
        self.names = [_field(output, "name", str) for output in outputs]
        is_raw = bool(parameters.get("binary_data_output", False))
        raw = [bool(_parameters(output).get("binary_data", is_raw)) for output in outputs]
        self._raw_names = {name for name, is_one in zip(self.names, raw, strict=True) if is_one}
        self._all_raw = is_raw and not outputs

    def is_raw(self, name: str) -> bool:
        """Returns whether an output is wanted as raw bytes."""
        return self._all_raw or name in self._raw_names


def _read(body: bytearray, header_length: str | None, max_photos: int) -> tuple[rest.PredictRequest, _Wanted]:
    size = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit()) or int(header_length[:20]) > size:
            raise BadRequestError(f"`{_HEADER_LENGTH}` must be at most {size}. Received: {shown(header_length)}")
        size = int(header_length)
    document = rest.read_json(body[:size], max_photos)
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), list):
        raise BadRequestError("The body must be a JSON object with a list of `inputs`.")
    parameters, inputs, at = _parameters(document), [], size
    for given in document["inputs"][:_MOST_TENSORS]:
        num_raw = _parameters(given).get("binary_data_size")
        if num_raw is None:
            inputs.append(_from_json(given))
            continue
        if not isinstance(num_raw, int) or isinstance(num_raw, bool) or not 0 <= num_raw <= len(body) - at:
            raise BadRequestError(f"`binary_data_size` must be at most {len(body) - at}. Received: {shown(num_raw)}")
        inputs.append(_tensor(given, tensors.read_raw(given.get("datatype"), body[at : at + num_raw], max_photos)))
        at += num_raw
    return tensors.read_request(inputs, parameters, max_photos), _Wanted(document, parameters)


def _from_json(given: dict[str, Any]) -> InputTensor:
    name, values = _field(given, "name", str), _field(given, "data", list)
    while values and isinstance(values[0], list):
        if not all(isinstance(value, list) for value in values):
            raise BadRequestError(f"The `data` of `{shown(name)}` must be flat, or nested evenly.")
        values = [inner for value in values for inner in value]
    if given.get("datatype") == "BYTES":
        values = [_file(f"{name}[{index}]", value) for index, value in enumerate(values)]
    return _tensor(given, values)


def _file(where: str, value: Any) -> bytes:
    text = value.get("b64") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise BadRequestError(f"`{shown(where)[1:-1]}` must be a photo in base64. Received: {shown(value)}")
    return rest.decode_base64(shown(where)[1:-1], text)


def _tensor(given: dict[str, Any], values: list[Any]) -> InputTensor:
    shape = _field(given, "shape", list)
    if not all(isinstance(size, int) and not isinstance(size, bool) for size in shape):
        raise BadRequestError(f"A `shape` must be a list of integers. Received: {shown(shape)}")
    return InputTensor(_field(given, "name", str), _field(given, "datatype", str), tuple(shape), values)


def _field(given: Any, name: str, kind: type) -> Any:
    value = given.get(name) if isinstance(given, dict) else None
    if not isinstance(value, kind):
        raise BadRequestError(f"Each tensor must have a `{name}`, of {kind.__name__}. Received: {shown(value)}")
    return value


def _parameters(given: Any) -> dict[str, Any]:
    parameters = given.get("parameters", {}) if isinstance(given, dict) else None
    if not isinstance(parameters, dict):
        raise BadRequestError(f"`parameters` must be an object. Received: {shown(parameters)}")
    return parameters


def _write(facts: dict[str, Any], wanted: _Wanted, outputs: Any, answers: list[Any]) -> tuple[bytes, bytes]:
    written, raw = [], []
    for tensor in tensors.output_tensors(outputs, answers, wanted.names):
        one: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if wanted.is_raw(tensor.name):
            raw.append(tensor.raw())
            one["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            one |= _json_data(tensor)
        written.append(one)
    document = {**facts, **({"id": wanted.id} if wanted.id else {}), "outputs": written}
    return json.dumps(document).encode(), b"".join(raw)


def _json_data(tensor: OutputTensor) -> dict[str, Any]:
    if tensor.is_file:
        texts = [rest.encode_base64(value) for value in tensor.values]
        return {"data": texts, "parameters": {"content_type": "base64"}}
    if tensor.datatype == "BYTES":
        return {"data": [value.decode("utf-8", "replace") for value in tensor.values]}
    return {"data": tensor.values}
