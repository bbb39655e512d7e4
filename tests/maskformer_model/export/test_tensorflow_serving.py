"""The exported model behind TensorFlow Serving's own messages, loaded the way its server loads: graph, feeds, fetches.

`tensorflow_model_server` itself is in no registry that the project uses. What is checked is everything up to its
socket: the request's protos are its own (`tensorflow-serving-api`), and the graph runs in a session, by the names in
the signature, with no Python function of the SavedModel in between.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.maskformer_model.helpers.small_export import encoded, photo


@pytest.fixture(scope="module")
def serve(exported):
    """Serialized `PredictRequest` -> serialized `PredictResponse`, as the server's Predict does it."""
    from tensorflow_serving.apis import predict_pb2

    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    meta = tf.compat.v1.saved_model.load(session, [tf.compat.v1.saved_model.tag_constants.SERVING], str(exported[0]))

    def predict(serialized: bytes) -> bytes:
        request = predict_pb2.PredictRequest.FromString(serialized)
        name = request.model_spec.signature_name or "serving_default"
        signature = meta.signature_def[name]
        if set(request.inputs) != set(signature.inputs):
            raise ValueError(f"input size does not match signature: {sorted(request.inputs)}")
        feeds = {signature.inputs[key].name: tf.make_ndarray(value) for key, value in request.inputs.items()}
        fetched = session.run({key: info.name for key, info in signature.outputs.items()}, feeds)
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        for key, value in fetched.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response.SerializeToString()

    yield predict
    session.close()


def request(signature: str = "", **inputs) -> bytes:
    from tensorflow_serving.apis import predict_pb2

    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "maskformer", signature
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message.SerializeToString()


def outputs(serialized: bytes) -> dict[str, np.ndarray]:
    from tensorflow_serving.apis import predict_pb2

    response = predict_pb2.PredictResponse.FromString(serialized)
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def test_a_predict_request_gets_what_the_loaded_model_answers(serve, exported):
    photos = [encoded(photo(50, 80)), encoded(photo(33, 21), "JPEG")]
    ours = outputs(serve(request(image_bytes=photos)))
    expected = tf.saved_model.load(str(exported[0])).signatures["serving_default"](image_bytes=tf.constant(photos))
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(ours[name], value.numpy(), err_msg=name)
    thresholds = {"object_mask_threshold": np.float32(1), "overlap_threshold": np.float32(0)}
    assert outputs(serve(request("panoptic", image_bytes=photos, **thresholds)))["num_segments"].tolist() == [0, 0]


def test_a_bad_photo_is_an_invalid_argument_that_names_its_place(serve):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes\[1\].*must be a JPEG or PNG"):
        serve(request(image_bytes=[encoded(photo(50, 80)), b"no photo"]))


def test_binary_outputs_are_those_that_the_rest_form_encodes(exported):
    signatures = tf.saved_model.load(str(exported[0])).signatures
    for name in ("serving_default", "panoptic", "semantic", "instances"):
        for key, spec in signatures[name].structured_outputs.items():
            assert not key.endswith("_png"), key
            assert spec.dtype != tf.string or key.endswith("_bytes") or key == "class_names"
