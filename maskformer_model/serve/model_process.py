"""Holds a SavedModel in a process: calls come through a pipe, answers go back in the REST interface's form.

A process of its own, so that a crash in native code, or a kill, takes no connection with it, and so that the memory of
an old version is wholly given back. It ends when its pipe does, and at no signal to its group: the server has the say.
TensorFlow is imported here and in no other part of the server.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import signal
from multiprocessing.connection import Connection
from typing import Any

from maskformer_model.config.files import CATEGORIES_FILE, EXTRA_ASSETS_FOLDER, SERVING_FILE
from maskformer_model.data.photo_files import refusal
from maskformer_model.export.assets import keep_packed_weights

# With which a refusal begins; the model knows only the photo's place in its own batch.
_PLACE = re.compile(r"^`image_bytes\[\d+\]` ")
PHOTO_SIGNATURES = ("serving_default", "panoptic", "semantic", "instances")


@dataclasses.dataclass(frozen=True)
class Call:
    """The photos of one call of a signature.

    Attributes:
        signature: One of `PHOTO_SIGNATURES` that the model has.
        photos: Encoded photos.
        scalars: Further inputs by name.
    """

    signature: str
    photos: tuple[bytes, ...]
    scalars: tuple[tuple[str, float], ...] = ()


# A gray photo of 64 x 64 px: what every signature is tried on, and what an idle process is asked.
TRIAL = Call(
    "serving_default",
    (
        base64.b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAATUlEQVR42u3PQQ0AAAgEILX4VTeFDzdoQCepz6aeExAQEBAQEBAQEBAQ"
            "EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQELi3EXIB/URBQ4EAAAAASUVORK5CYII="
        ),
    ),
)


@dataclasses.dataclass(frozen=True)
class Refused:
    """The answer for a photo that the model refuses.

    Attributes:
        rule: What a photo must be, and what was received; the photo itself is not named.
    """

    rule: str


@dataclasses.dataclass(frozen=True)
class Tensor:
    """The name, type and shape of a model's output.

    Attributes:
        datatype: TensorFlow's name of the type: "string", "float32".
        row_shape: The shape of one photo's part; -1 where it varies.
    """

    datatype: str
    row_shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Ready:
    """The first message of a process: the model is loaded and has been tried.

    Attributes:
        signatures: Names of the photo signatures it has.
        facts: What `serving.json` of the model says; empty where there is none.
        categories: Its categories, as a COCO list.
        outputs: By signature and name.
    """

    signatures: tuple[str, ...]
    facts: dict[str, Any]
    categories: list[dict[str, Any]]
    outputs: dict[str, dict[str, Tensor]]


@dataclasses.dataclass(frozen=True)
class Failed:
    """The message of a process whose call or loading failed for a reason of its own."""

    reason: str


def run(connection: Connection, model_dir: str) -> None:
    """Loads the model, then answers calls until the pipe is closed."""
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop_signal, signal.SIG_IGN)
    from maskformer_model.backend.quiet_start import import_tensorflow

    try:
        import_tensorflow()
        model = _Model(model_dir)
        connection.send(model.ready())
    except Exception as error:  # Whatever is wrong with a model is for the parent to report.
        connection.send(Failed(f"{type(error).__name__}: {error}"))
        return
    while True:
        try:
            call = connection.recv()
        except EOFError:
            return
        answer: list[dict[str, Any] | Refused] | Failed
        try:
            answer = model.answer(call)
        except Exception as error:
            answer = Failed(f"{type(error).__name__}: {error}")
        connection.send(answer)


class _Model:
    def __init__(self, model_dir: str):
        import tensorflow as tf

        self._tf = tf
        self._dir = model_dir
        self._facts = self._read(SERVING_FILE, {})
        keep_packed_weights(self._facts)
        self._loaded = tf.saved_model.load(model_dir)
        self._signatures = {name: self._loaded.signatures[name] for name in self._loaded.signatures}
        missing = [name for name in PHOTO_SIGNATURES[:1] if name not in self._signatures]
        if missing:
            raise ValueError(f"The model must have the signature {missing[0]}. Received: {sorted(self._signatures)}")

    def ready(self) -> Ready:
        """Tries every signature, so that the first caller need not wait for what is built at the first call."""
        names = tuple(name for name in PHOTO_SIGNATURES if name in self._signatures)
        for name in names:
            self._signatures[name](**self._trial(name))
        outputs = {name: self._outputs(name) for name in names}
        return Ready(names, self._facts, self._read(CATEGORIES_FILE, []), outputs)

    def _trial(self, signature: str) -> dict[str, Any]:
        scalars = [name for name in self._signatures[signature].structured_input_signature[1] if name != "image_bytes"]
        return {"image_bytes": self._tf.constant(TRIAL.photos)} | {name: self._tf.constant(0.5) for name in scalars}

    def _outputs(self, signature: str) -> dict[str, Tensor]:
        specs = self._signatures[signature].structured_outputs
        return {
            name: Tensor(spec.dtype.name, tuple(-1 if size is None else size for size in spec.shape[1:]))
            for name, spec in specs.items()
        }

    def _read(self, name: str, otherwise: Any) -> Any:
        path = os.path.join(self._dir, EXTRA_ASSETS_FOLDER, name)
        if not os.path.exists(path):
            return otherwise
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def answer(self, call: Call) -> list[dict[str, Any] | Refused]:
        """Returns one answer per photo. If one photo is refused, the others of its batch are tried again, alone."""
        tf = self._tf
        scalars = {name: tf.constant(value, tf.float32) for name, value in call.scalars}
        try:
            outputs = self._signatures[call.signature](image_bytes=tf.constant(list(call.photos)), **scalars)
        except tf.errors.InvalidArgumentError as error:
            if len(call.photos) == 1:
                return [Refused(_PLACE.sub("", refusal(error.message)))]
            alone = [dataclasses.replace(call, photos=(photo,)) for photo in call.photos]
            return [answer for one in alone for answer in self.answer(one)]
        arrays = {name: value.numpy() for name, value in outputs.items()}
        return [{name: to_json(name, array[row]) for name, array in arrays.items()} for row in range(len(call.photos))]


def to_json(name: str, value: Any) -> Any:
    """Returns a photo's value in TensorFlow Serving's REST form: base64 where the name ends in `_bytes`."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")} if name.endswith("_bytes") else value.decode("utf-8")
    plain = value.tolist()
    if value.dtype.kind in "OS":
        return [to_json(name, item) for item in plain]
    return plain
