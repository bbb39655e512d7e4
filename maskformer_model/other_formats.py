"""The network for other runtimes: ONNX, LiteRT and OpenVINO files, by Keras's own exporters.

These runtimes get the network alone, at one fixed size: decoding photos and merging queries into segments have no
counterpart in all of them and stay with the caller, who has them in `data.preprocessing`, `data.normalization` and
`inference.postprocessing`.
The one input is `image`, `[1, height, width, 3]` float32, normalised and padded; the outputs are `class_logits`
`[1, queries, classes + 1]` and `mask_logits` `[1, queries, height / 4, width / 4]`.

    python -m maskformer_model.other_formats --model DIR --weights FILE --format onnx --output model.onnx

The runtimes and converters are the extra `exports`; `python -m benchmarks.exports` runs every format on photos.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maskformer_model.command_errors import run_command

ONNX, OPENVINO = "onnx", "openvino"
LITERT, LITERT_DYNAMIC, LITERT_FLOAT16 = "litert", "litert_dynamic", "litert_float16"
FORMATS = (ONNX, LITERT, LITERT_DYNAMIC, LITERT_FLOAT16, OPENVINO)
SUFFIXES = {ONNX: ".onnx", OPENVINO: ".xml"}  # LiteRT's files end in .tflite.
OUTPUTS = ("class_logits", "mask_logits")
Runner = Callable[[Any], Mapping[str, Any]]


def suffix_of(file_format: str) -> str:
    """How a file of that format must end."""
    return SUFFIXES.get(file_format, ".tflite")


def fixed_size_network(network: Any, size_px: tuple[int, int]) -> Any:
    """A Keras model of the network for one photo of one size, with the two outputs of the module's first lines."""
    import keras
    import numpy as np

    image = keras.Input((*size_px, 3), batch_size=1, name="image")
    outputs = network(image, training=False)
    model = keras.Model(image, {name: outputs[name] for name in OUTPUTS})
    model(np.zeros((1, *size_px, 3), np.float32))  # Keras's ONNX exporter asks whether it was ever called.
    return model


def write(network: Any, path: str | os.PathLike[str], file_format: str, size_px: tuple[int, int]) -> None:
    """Writes the network in another format.

    Args:
        network: A `MaskFormer`, built.
        path: Must end as `suffix_of` says. OpenVINO writes a `.bin` beside it.
        file_format: One of `FORMATS`. The two quantised ones make weights smaller: "litert_dynamic" keeps them as
            8-bit integers, "litert_float16" as halves.
        size_px: Height and width of the input.

    Raises:
        ValueError: if the format is unknown, or the path ends otherwise.
        ImportError: if the converter is not installed.
    """
    if file_format not in FORMATS:
        raise ValueError(f"`file_format` must be one of {FORMATS}. Received: {file_format!r}")
    if pathlib.Path(path).suffix != suffix_of(file_format):
        raise ValueError(f"`path` must end in {suffix_of(file_format)} for {file_format}. Received: {path}")
    if file_format == ONNX:
        _teach_onnx_erfc()
    model = fixed_size_network(network, size_px)
    kind = "litert" if file_format.startswith("litert") else file_format
    model.export(os.fspath(path), format=kind, verbose=False, **_litert_settings(file_format))


def _teach_onnx_erfc() -> None:
    """Gives tf2onnx a rule for TensorFlow's `Erfc`, which is in every GELU and which it has none for."""
    import numpy as np
    from tf2onnx import utils
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class _Erfc:  # 1 - erf; found by the decorator.
        @classmethod
        def version_9(cls, ctx, node, **kwargs):
            shape, dtype = ctx.get_shape(node.output[0]), ctx.get_dtype(node.output[0])
            one = ctx.make_const(utils.make_name("one"), np.array(1, utils.map_onnx_to_numpy_type(dtype)))
            erf = ctx.make_node("Erf", node.input, shapes=[shape], dtypes=[dtype])
            ctx.remove_node(node.name)
            ctx.make_node(
                "Sub",
                [one.output[0], erf.output[0]],
                name=node.name,
                outputs=node.output,
                shapes=[shape],
                dtypes=[dtype],
            )


def _litert_settings(file_format: str) -> dict[str, Any]:
    if file_format not in (LITERT_DYNAMIC, LITERT_FLOAT16):
        return {}
    import tensorflow as tf

    settings: dict[str, Any] = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    if file_format == LITERT_FLOAT16:
        settings["target_spec"] = {"supported_types": [tf.float16]}
    return settings


def load(path: str | os.PathLike[str], num_threads: int = 2) -> Runner:
    """Opens a file in its own runtime.

    Args:
        path: What `write` wrote; its suffix says which runtime.
        num_threads: The number of threads of the runtime.

    Returns:
        Normalised image `[1, height, width, 3]` float32 -> the two outputs as numpy arrays.

    Raises:
        ImportError: if the runtime is not installed.
    """
    loaders = {".onnx": _load_onnx, ".xml": _load_openvino, ".tflite": _load_litert}
    return loaders[pathlib.Path(path).suffix](os.fspath(path), num_threads)


def _load_onnx(path: str, num_threads: int) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [image] = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    return lambda pixels: _by_shape(dict(zip(names, session.run(names, {image.name: pixels}), strict=True)))


def _load_openvino(path: str, num_threads: int) -> Runner:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": num_threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(path, "CPU", settings)
    return lambda pixels: _by_shape({str(number): value for number, value in enumerate(compiled([pixels]).to_tuple())})


def _load_litert(path: str, num_threads: int) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=num_threads)
    interpreter.allocate_tensors()
    [image] = interpreter.get_input_details()

    def run(pixels):
        interpreter.set_tensor(image["index"], pixels)
        interpreter.invoke()
        details = interpreter.get_output_details()
        return _by_shape({detail["name"]: interpreter.get_tensor(detail["index"]) for detail in details})

    return run


def _by_shape(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Runtimes rename outputs; masks are the ones with two axes for space."""
    return {"mask_logits" if value.ndim == 4 else "class_logits": value for value in outputs.values()}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m maskformer_model.other_formats", description="Writes a trained network for another runtime."
    )
    add = parser.add_argument
    add("--model", required=True, metavar="DIR", help="an exported model, or what a training left beside its weights")
    add("--weights", metavar="FILE", help="model.weights.h5 of the same training (default: the one in --model)")
    add("--format", required=True, choices=FORMATS)
    add("--output", required=True, metavar="FILE", help="ends in .onnx, .tflite or .xml")
    size_help = "height and width of the input (default: the square of the experiment's longest edge)"
    add("--size", type=int, nargs=2, metavar="PX", help=size_help)
    args = parser.parse_args(argv)
    if pathlib.Path(args.output).suffix != suffix_of(args.format):
        parser.error(f"`--output` must end in {suffix_of(args.format)}. Received: {args.output}")
    return run_command("maskformer_model.other_formats", lambda: _write(args))


def _write(args: argparse.Namespace) -> int:
    from maskformer_model.backend.quiet_start import import_tensorflow

    import_tensorflow()
    from maskformer_model.export.keras_network import load_network

    network, config, _ = load_network(args.model, args.weights)
    size_px = tuple(args.size) if args.size else (config.task.inference.max_size_px,) * 2
    write(network, args.output, args.format, size_px)
    print(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
