"""Defines the messages of KServe's `inference.GRPCInferenceService`, built when this module is read.

The fields and their numbers are the Open Inference Protocol's `open_inference_grpc.proto`. They stand in a pool of
their own: a program that also has a client package, with the same names in protobuf's default pool, is not disturbed.
"""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

_PARAMETERS = "map:InferParameter"
_CONTENTS = "InferTensorContents"
# By message: its fields, in the order of their numbers from 1 on; a type in brackets is repeated.
_FIELDS = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": "bool"},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": "bool"},
    "ModelReadyRequest": {"name": "string", "version": "string"},
    "ModelReadyResponse": {"ready": "bool"},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": "string", "version": "string", "extensions": "[string]"},
    "ModelMetadataRequest": {"name": "string", "version": "string"},
    "ModelMetadataResponse.TensorMetadata": {"name": "string", "datatype": "string", "shape": "[int64]"},
    "ModelMetadataResponse": {
        "name": "string",
        "versions": "[string]",
        "platform": "string",
        "inputs": "[ModelMetadataResponse.TensorMetadata]",
        "outputs": "[ModelMetadataResponse.TensorMetadata]",
    },
    "InferParameter": {"bool_param": "bool", "int64_param": "int64", "string_param": "string"},
    _CONTENTS: {
        "bool_contents": "[bool]",
        "int_contents": "[int32]",
        "int64_contents": "[int64]",
        "uint_contents": "[uint32]",
        "uint64_contents": "[uint64]",
        "fp32_contents": "[float]",
        "fp64_contents": "[double]",
        "bytes_contents": "[bytes]",
    },
    "ModelInferRequest.InferInputTensor": {
        "name": "string",
        "datatype": "string",
        "shape": "[int64]",
        "parameters": _PARAMETERS,
        "contents": _CONTENTS,
    },
    "ModelInferRequest.InferRequestedOutputTensor": {"name": "string", "parameters": _PARAMETERS},
    "ModelInferRequest": {
        "model_name": "string",
        "model_version": "string",
        "id": "string",
        "parameters": _PARAMETERS,
        "inputs": "[ModelInferRequest.InferInputTensor]",
        "outputs": "[ModelInferRequest.InferRequestedOutputTensor]",
        "raw_input_contents": "[bytes]",
    },
    "ModelInferResponse.InferOutputTensor": {
        "name": "string",
        "datatype": "string",
        "shape": "[int64]",
        "parameters": _PARAMETERS,
        "contents": _CONTENTS,
    },
    "ModelInferResponse": {
        "model_name": "string",
        "model_version": "string",
        "id": "string",
        "parameters": _PARAMETERS,
        "outputs": "[ModelInferResponse.InferOutputTensor]",
        "raw_output_contents": "[bytes]",
    },
}
_ONE_OF = {"InferParameter": "parameter_choice"}


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3")
    messages: dict[str, descriptor_pb2.DescriptorProto] = {}
    # An outer message comes before those inside it.
    for name in sorted(_FIELDS, key=lambda one: one.count(".")):
        outer, _, own = name.rpartition(".")
        messages[name] = (messages[outer].nested_type if outer else file.message_type).add(name=own)
    for name, message in messages.items():
        if name in _ONE_OF:
            message.oneof_decl.add(name=_ONE_OF[name])
        for number, (field_name, kind) in enumerate(_FIELDS[name].items(), start=1):
            _add_field(message, name, field_name, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(message: descriptor_pb2.DescriptorProto, owner: str, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
    if owner in _ONE_OF:
        field.oneof_index = 0
    if kind.startswith("map:"):
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "", "key", 1, "string")
        _add_field(entry, "", "value", 2, kind.removeprefix("map:"))
        kind = f"[{owner}.{entry.name}]"
    if kind.startswith("["):
        field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
        kind = kind[1:-1]
    plain = f"TYPE_{kind.upper()}"
    if plain in descriptor_pb2.FieldDescriptorProto.Type.keys():  # noqa: SIM118 - not a dict.
        field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(plain)
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


_POOL = _pool()


def message_class(name: str) -> type:
    """Returns the class of a message, by its name without the package."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
