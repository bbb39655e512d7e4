"""Reads and writes the tensors of KServe's v2 protocol; the same for HTTP and gRPC.

A request has an input `image_bytes`, BYTES `[photos]`. The inputs `object_mask_threshold` and `overlap_threshold`,
FP32 `[1]`, ask for the signature `panoptic`; the parameter `signature_name` asks for any. An answer has a tensor for
each output of the signature, with one row per photo. Raw bytes of a BYTES tensor are its elements, each after its
length in four bytes, little-endian.
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from maskformer_model.serve.model_process import Ready, Tensor
from maskformer_model.serve.rest import PHOTO_INPUT, THRESHOLDS, BadRequestError, PredictRequest, read_scalars, shown

PLATFORM = "tensorflow_savedmodel"
SERVER_NAME = "maskformer_model.serve"
# By TensorFlow's name of a type: the protocol's, and numpy's for raw bytes.
_DATATYPES = {
    "string": ("BYTES", ""),
    "bool": ("BOOL", "?"),
    "uint8": ("UINT8", "<u1"),
    "int32": ("INT32", "<i4"),
    "int64": ("INT64", "<i8"),
    "float32": ("FP32", "<f4"),
    "float64": ("FP64", "<f8"),
}
_FP32_BYTES = 4


@dataclasses.dataclass(frozen=True)
class InputTensor:
    """A tensor of a request.

    Attributes:
        name: The name that the caller uses.
        datatype: "BYTES" or "FP32".
        shape: The shape that the caller gives.
        values: Its elements: bytes or numbers.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any]


@dataclasses.dataclass(frozen=True)
class OutputTensor:
    """A tensor of an answer.

    Attributes:
        name: The signature's name of the output.
        tensorflow_type: TensorFlow's name of the type.
        shape: Photos first.
        values: Its elements: bytes or numbers.
    """

    name: str
    tensorflow_type: str
    shape: tuple[int, ...]
    values: list[Any]

    @property
    def datatype(self) -> str:
        """Returns the protocol's name of the type."""
        return _DATATYPES[self.tensorflow_type][0]

    @property
    def is_file(self) -> bool:
        """Returns whether its elements are files, such as PNGs, and not text."""
        return self.name.endswith("_bytes")

    def raw(self) -> bytes:
        """Returns the elements as raw bytes."""
        if self.datatype == "BYTES":
            return b"".join(struct.pack("<I", len(value)) + value for value in self.values)
        return np.array(self.values, _DATATYPES[self.tensorflow_type][1]).tobytes()


def read_request(inputs: Iterable[InputTensor], parameters: Mapping[str, Any], max_photos: int) -> PredictRequest:
    """Returns what a request asks for.

    Raises:
        BadRequestError: if it is not of the form, naming the tensor.
    """
    by_name = {tensor.name: tensor for tensor in inputs}
    for tensor in by_name.values():
        wanted = "BYTES" if tensor.name == PHOTO_INPUT else "FP32"
        if tensor.name not in (PHOTO_INPUT, *THRESHOLDS):
            raise BadRequestError(f"The inputs are {[PHOTO_INPUT, *THRESHOLDS]}. Received: {shown(tensor.name)}")
        if tensor.datatype != wanted:
            raise BadRequestError(f"`{tensor.name}` must be {wanted}. Received: {shown(tensor.datatype)}")
        if math.prod(tensor.shape) != len(tensor.values) or min(tensor.shape, default=1) < 0:
            received = f"{shown(list(tensor.shape))} for {len(tensor.values)} values"
            raise BadRequestError(f"The shape of `{tensor.name}` must say how many values it has. Received: {received}")
    photos = by_name.pop(PHOTO_INPUT, None)
    if photos is None or not photos.values:
        raise BadRequestError(f"`{PHOTO_INPUT}` must hold at least one photo.")
    if len(photos.values) > max_photos:
        raise BadRequestError(f"A request must have at most {max_photos} photos. Received: {len(photos.values)}")
    for name, tensor in by_name.items():
        if len(tensor.values) != 1:
            raise BadRequestError(f"`{name}` must be one number. Received: {len(tensor.values)}")
    signature = parameters.get("signature_name", "panoptic" if by_name else "serving_default")
    if not isinstance(signature, str):
        raise BadRequestError(f"`signature_name` must be a name. Received: {shown(signature)}")
    scalars = read_scalars(signature, {name: tensor.values[0] for name, tensor in by_name.items()})
    return PredictRequest(signature, tuple(photos.values), scalars, by_row=False)


def read_raw(datatype: Any, raw: bytes | bytearray, max_values: int) -> list[Any]:
    """Returns the elements that raw bytes hold, at most `max_values`.

    Raises:
        BadRequestError: if the bytes do not fit the type, or hold more.
    """
    if datatype == "FP32":
        if len(raw) % _FP32_BYTES or len(raw) > _FP32_BYTES * max_values:
            raise BadRequestError(f"Raw FP32 must have 4 bytes for each value. Received: {len(raw)} bytes")
        return np.frombuffer(raw, "<f4").astype(float).tolist()
    if datatype != "BYTES":
        raise BadRequestError(f"The datatype must be BYTES or FP32. Received: {shown(datatype)}")
    values: list[bytes] = []
    at = 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        if end > len(raw) or at + 4 > len(raw):
            raise BadRequestError(f"Raw BYTES must have the length before each value. Received: {len(raw)} bytes")
        if len(values) == max_values:
            raise BadRequestError(f"A request must have at most {max_values} photos.")
        values.append(bytes(raw[at + 4 : end]))
        at = end
    return values


def output_tensors(
    outputs: Mapping[str, Tensor], answers: Sequence[Mapping[str, Any]], wanted: Sequence[str]
) -> list[OutputTensor]:
    """Returns the tensors of an answer.

    Args:
        outputs: The signature's, by name.
        answers: One per photo, as `model_process` gives them.
        wanted: Names; empty: all.

    Raises:
        BadRequestError: if an output is wanted that the signature does not have.
    """
    missing = [name for name in wanted if name not in outputs]
    if missing:
        raise BadRequestError(f"The outputs are {sorted(outputs)}. Received: {shown(missing[0])}")
    tensors = []
    for name in wanted or sorted(outputs):
        rows = [answer[name] for answer in answers]
        shape = (len(rows), *_shape(rows[0]))
        values = [_plain(value) for value in _flat(rows, len(shape))]
        tensors.append(OutputTensor(name, outputs[name].datatype, shape, values))
    return tensors


def model_metadata(name: str, version: int, ready: Ready) -> dict[str, Any]:
    """Returns what the protocol says of a model: its inputs, and the outputs of `serving_default`."""
    outputs = ready.outputs["serving_default"]
    inputs = [{"name": PHOTO_INPUT, "datatype": "BYTES", "shape": [-1]}]
    return {
        "name": name,
        "versions": [str(version)],
        "platform": PLATFORM,
        "inputs": inputs,
        "outputs": [
            {"name": one, "datatype": _DATATYPES[spec.datatype][0], "shape": [-1, *spec.row_shape]}
            for one, spec in sorted(outputs.items())
        ],
    }


def _shape(value: Any) -> tuple[int, ...]:
    return (len(value), *_shape(value[0] if value else 0)) if isinstance(value, list) else ()


def _flat(rows: list[Any], depth: int) -> list[Any]:
    for _ in range(depth - 1):
        rows = list(itertools.chain.from_iterable(rows))
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode() if isinstance(value, str) else value
