"""KServe's protocol over HTTP and gRPC on a running server: the same answers, the same refusals."""

from __future__ import annotations

import base64
import json
import struct
import urllib.request

import grpc
import numpy as np
import pytest

from maskformer_model.serve.kserve import grpc_messages
from tests.components import brightness_model
from tests.maskformer_model.serve.running_server import RunningServer, free_port

PHOTO = brightness_model.scene(3).image_encoded
DISC_PIXELS, GROUND_PIXELS = 81, 24 * 32 - 81


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    model = brightness_model.save_model(tmp_path_factory.mktemp("models") / "model")
    grpc_port = free_port()
    running = RunningServer(model, "--grpc_port", str(grpc_port))
    running.grpc_port = grpc_port
    yield running.wait_until_ready()
    assert running.stop() == 0


@pytest.fixture
def call(server):
    """Makes a call of `inference.GRPCInferenceService`."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:

        def make(name, /, **fields):
            request = grpc_messages.message_class(f"{name}Request")(**fields)
            method = channel.unary_unary(
                f"/{grpc_messages.SERVICE}/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=grpc_messages.message_class(f"{name}Response").FromString,
            )
            return method(request, timeout=60)

        yield make


def tensor(*photos, **more):
    data = [base64.b64encode(photo).decode() for photo in photos]
    return {"name": "image_bytes", "datatype": "BYTES", "shape": [len(photos)], "data": data, **more}


def infer(server, document, path="maskformer"):
    return server.post(f"v2/models/{path}/infer", json.dumps(document).encode())


def test_health_and_metadata_have_the_protocol_s_form(server):
    assert server.get("v2/health/live").json() == {"live": True}
    assert server.get("v2/health/ready").json() == {"ready": True}
    assert server.get("v2/models/maskformer/ready").json() == {"ready": True}
    assert server.get("v2").json()["extensions"] == ["binary_tensor_data"]
    facts = server.get("v2/models/maskformer/versions/1").json()
    assert (facts["name"], facts["versions"]) == ("maskformer", ["1"])
    assert facts["inputs"] == [{"name": "image_bytes", "datatype": "BYTES", "shape": [-1]}]
    outputs = {output["name"]: (output["datatype"], output["shape"]) for output in facts["outputs"]}
    assert outputs["panoptic_png_bytes"] == ("BYTES", [-1])
    assert outputs["boxes"] == ("FP32", [-1, 2, 4]) and outputs["isthing"][0] == "BOOL"


def test_json_gives_a_tensor_for_each_output_with_a_row_for_each_photo(server):
    answer = infer(server, {"id": "seven", "inputs": [tensor(PHOTO, PHOTO)]})
    assert answer.status == 200
    document = answer.json()
    assert (document["id"], document["model_name"], document["model_version"]) == ("seven", "maskformer", "1")
    outputs = {output["name"]: output for output in document["outputs"]}
    assert outputs["areas"] == {
        "name": "areas",
        "datatype": "INT32",
        "shape": [2, 2],
        "data": [GROUND_PIXELS, DISC_PIXELS] * 2,
    }
    assert outputs["class_names"]["data"] == ["ground", "disc"] * 2
    assert base64.b64decode(outputs["panoptic_png_bytes"]["data"][1]).startswith(b"\x89PNG")


def test_raw_bytes_follow_the_json_both_ways(server):
    raw = b"".join(struct.pack("<I", len(photo)) + photo for photo in (PHOTO, PHOTO))
    given = {"name": "image_bytes", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(raw)}}
    wanted = [{"name": "areas", "parameters": {"binary_data": True}}, {"name": "class_names"}]
    head = json.dumps({"inputs": [given], "outputs": wanted}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    address = f"{server.address}v2/models/maskformer/infer"
    answer = server._ask(urllib.request.Request(address, data=head + raw, headers=headers))
    assert answer.status == 200
    length = int(answer.headers["Inference-Header-Content-Length"])
    areas, names = json.loads(answer.body[:length])["outputs"]
    assert areas["parameters"] == {"binary_data_size": 16} and names["data"] == ["ground", "disc"] * 2
    assert np.frombuffer(answer.body[length:], "<i4").tolist() == [GROUND_PIXELS, DISC_PIXELS] * 2


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "a list of `inputs`"),
        ({"inputs": []}, "at least one photo"),
        ({"inputs": [7]}, "`parameters` must be an object"),
        ({"inputs": [tensor(PHOTO, shape=[2])]}, "must say how many values it has"),
        ({"inputs": [tensor(PHOTO, shape=[-1])]}, "must say how many values it has"),
        ({"inputs": [tensor(PHOTO, datatype="FP32")]}, "`image_bytes` must be BYTES"),
        ({"inputs": [tensor(PHOTO, name="pixels")]}, "The inputs are"),
        ({"inputs": [tensor(PHOTO, data=[7])]}, "must be a photo in base64"),
        ({"inputs": [tensor(PHOTO, parameters={"binary_data_size": 10})]}, "`binary_data_size` must be at most 0"),
        ({"inputs": [tensor(*[PHOTO] * 65)]}, "at most 64 photos"),
        ({"inputs": [tensor(PHOTO)], "outputs": [{"name": "absent"}]}, "The outputs are"),
        ({"inputs": [tensor(PHOTO)], "parameters": {"signature_name": "absent"}}, "`signature_name` must be one of"),
        ({"inputs": [tensor(PHOTO)], "parameters": {"signature_name": "panoptic"}}, "The signature panoptic takes"),
        ({"inputs": [tensor(b"no photo")]}, r"`image_bytes[0]`"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(server, document, message):
    answer = infer(server, document)
    assert answer.status == 400 and message in answer.json()["error"]


def test_another_model_or_version_is_not_here(server):
    assert infer(server, {"inputs": [tensor(PHOTO)]}, path="other").status == 404
    assert infer(server, {"inputs": [tensor(PHOTO)]}, path="maskformer/versions/7").status == 404
    assert server.get("v2/models/other/ready").status == 404


def test_grpc_gives_what_http_gives(call):
    assert call("ServerLive").live and call("ServerReady").ready and call("ModelReady", name="maskformer").ready
    assert call("ServerMetadata").name == "maskformer_model.serve"
    assert call("ModelMetadata", name="maskformer").inputs[0].datatype == "BYTES"
    inputs = [{"name": "image_bytes", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [PHOTO]}}]
    answer = call("ModelInfer", model_name="maskformer", id="8", inputs=inputs, outputs=[{"name": "areas"}])
    assert (answer.id, answer.outputs[0].name, list(answer.outputs[0].shape)) == ("8", "areas", [1, 2])
    assert np.frombuffer(answer.raw_output_contents[0], "<i4").tolist() == [GROUND_PIXELS, DISC_PIXELS]
    inputs = [{"name": "image_bytes", "datatype": "BYTES", "shape": [1]}]
    raw = struct.pack("<I", len(PHOTO)) + PHOTO
    answer = call("ModelInfer", model_name="maskformer", inputs=inputs, raw_input_contents=[raw])
    assert len(answer.outputs) == len(answer.raw_output_contents) == 10


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model_name": "other"}, grpc.StatusCode.NOT_FOUND),
        ({"model_name": "maskformer"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"model_name": "maskformer", "raw_input_contents": [b"\xff\xff\xff\xff"]}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_grpc_refuses_with_a_status_of_its_own(call, fields, status):
    with pytest.raises(grpc.RpcError) as refused:
        call("ModelInfer", **fields)
    assert refused.value.code() == status
